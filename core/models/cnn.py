"""Plain convolutional networks."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..data.image_spec import ImageSpec
from . import BasicCnnOptions, ImprovedCnnOptions
from .pooling import relu_and_pool


def basic_cnn(options: BasicCnnOptions, spec: ImageSpec) -> nn.Module:  # noqa: ARG001
    """Three convolutions 32, 64, 128, each pooled, then 512 units: [B, C, H, W] to [B, classes]."""
    layers: list[nn.Module] = []
    channels = spec.channels
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), *relu_and_pool()]
        channels = width
    features = 128 * (spec.height // 8) * (spec.width // 8)
    head = [nn.Linear(features, 512), nn.ReLU(), nn.Linear(512, spec.classes)]
    return nn.Sequential(*layers, nn.Flatten(), *head)


def improved_cnn(options: ImprovedCnnOptions, spec: ImageSpec) -> nn.Module:
    """Six convolutions with batch norm, pooled after every second one: [B, C, H, W] to [B, classes]."""
    features = 512 * (spec.height // 8) * (spec.width // 8)
    return nn.Sequential(
        *_pairs(spec.channels, (64, 128), (256, 256), (512, 512)),
        nn.Flatten(),
        *(nn.Linear(features, 1024), nn.BatchNorm1d(1024), nn.ReLU(), nn.Dropout(options.dropout)),
        nn.Linear(1024, spec.classes),
    )


def _pairs(channels: int, *pairs: tuple[int, int]) -> Iterator[nn.Module]:
    for first, second in pairs:
        yield from (nn.Conv2d(channels, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU())
        yield from (nn.Conv2d(first, second, 3, padding=1), nn.BatchNorm2d(second), *relu_and_pool())
        channels = second
