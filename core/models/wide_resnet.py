"""WideResNet (Zagoruyko and Komodakis 2016)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from ..data.image_spec import ImageSpec
from . import WideResNetOptions


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv-BN-ReLU-dropout-conv plus a shortcut: [B, in, H, W] to [B, out, H/stride, W/stride]."""

    def __init__(self, channels: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.activate = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )
        self.projection = nn.Conv2d(channels, width, 1, stride, bias=False) if channels != width else None

    def forward(self, images: Tensor) -> Tensor:
        active = self.activate(images)
        return self.body(active) + (images if self.projection is None else self.projection(active))


def wide_resnet(options: WideResNetOptions, spec: ImageSpec) -> nn.Module:
    """Three stages of pre-activation blocks: [B, C, H, W] to [B, classes]."""
    width = 64 * options.widen_factor
    return nn.Sequential(
        nn.Conv2d(spec.channels, 16, 3, padding=1, bias=False),
        *_blocks(options),
        *(nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(width, spec.classes),
    )


def _blocks(options: WideResNetOptions) -> Iterator[nn.Module]:
    channels = 16
    for stage, base in enumerate((16, 32, 64)):
        width = base * options.widen_factor
        for block in range((options.depth - 4) // 6):
            # With a widen factor of 1 the first stage keeps its width, so no projection is needed there.
            yield PreActivationBlock(channels, width, 2 if stage and not block else 1, options.dropout)
            channels = width
