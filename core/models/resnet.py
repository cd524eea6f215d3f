"""Residual networks of plain blocks (He et al. 2015); their convolutions have no bias."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from ..data.image_spec import ImageSpec
from . import ResidualCnnOptions, ResNet9Options, ResNet18Options, ResNet34MnistOptions


class PlainBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus a shortcut, then ReLU: [B, in, H, W] to [B, out, H/stride, W/stride]."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        changes = stride != 1 or channels != width
        projection = (nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.shortcut = nn.Sequential(*projection) if changes else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.body(images) + self.shortcut(images))


def _stem(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]


def _stages(counts: tuple[int, ...], *, extra_bn: bool = False) -> Iterator[nn.Module]:
    """Stages of 64, 128, ... channels; each but the first halves the image."""
    channels = 64
    for stage, count in enumerate(counts):
        width = 64 * 2**stage
        for block in range(count):
            yield PlainBlock(channels, width, 2 if stage and not block else 1)
            channels = width
            if extra_bn and block:
                yield nn.BatchNorm2d(width)


def resnet9(options: ResNet9Options, spec: ImageSpec) -> nn.Module:  # noqa: ARG001
    """Three plain blocks of stride 2: [B, C, H, W] to [B, classes]."""
    height, width = ((side + 7) // 8 // 4 for side in (spec.height, spec.width))
    blocks = [PlainBlock(64, 128, 2), PlainBlock(128, 256, 2), PlainBlock(256, 512, 2)]
    head = [nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512 * height * width, spec.classes)]
    return nn.Sequential(*_stem(spec.channels), *blocks, *head)


def resnet18(options: ResNet18Options, spec: ImageSpec) -> nn.Module:  # noqa: ARG001
    """Four stages of two plain blocks: [B, C, H, W] to [B, classes]."""
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, spec.classes)]
    return nn.Sequential(*_stem(spec.channels), *_stages((2, 2, 2, 2)), *head)


def residual_cnn(options: ResidualCnnOptions, spec: ImageSpec) -> nn.Module:  # noqa: ARG001
    """Three stages of two plain blocks, pooled by 2 and flattened: [B, C, H, W] to [B, classes]."""
    height, width = ((side + 3) // 4 // 2 for side in (spec.height, spec.width))
    head = [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256 * height * width, spec.classes)]
    return nn.Sequential(*_stem(spec.channels), *_stages((2, 2, 2)), *head)


def resnet34_mnist(options: ResNet34MnistOptions, spec: ImageSpec) -> nn.Module:
    """Sixteen plain blocks behind a pooled stem: [B, C, H, W] to [B, classes]."""
    stride, padding = (2, 3) if options.stem == 7 else (1, 1)
    return nn.Sequential(
        nn.Conv2d(spec.channels, 64, options.stem, stride, padding, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.01),
        nn.MaxPool2d(3, 2, padding=1),
        *_stages((3, 4, 6, 3), extra_bn=options.extra_bn),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(options.dropout),
        nn.Linear(512, spec.classes),
    )
