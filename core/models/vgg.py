"""VGG-A (Simonyan and Zisserman 2014), with and without batch norm."""

from __future__ import annotations

from torch import nn

from ..data.image_spec import ImageSpec
from . import VggABnOptions, VggAOptions
from .pooling import relu_and_pool

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


def vgg_a(options: VggAOptions, spec: ImageSpec) -> nn.Module:  # noqa: ARG001
    """Eight convolutions in five pooled stages, three fully connected layers: [B, C, H, W] to [B, classes]."""
    return _vgg(spec, normalise=False)


def vgg_a_bn(options: VggABnOptions, spec: ImageSpec) -> nn.Module:  # noqa: ARG001
    """VGG-A with batch norm between each convolution and its ReLU: [B, C, H, W] to [B, classes]."""
    return _vgg(spec, normalise=True)


def _vgg(spec: ImageSpec, *, normalise: bool) -> nn.Module:
    layers: list[nn.Module] = []
    channels = spec.channels
    for stage in _STAGES:
        for place, width in enumerate(stage, start=1):
            norm = [nn.BatchNorm2d(width)] if normalise else []
            ends = relu_and_pool() if place == len(stage) else (nn.ReLU(),)
            layers += [nn.Conv2d(channels, width, 3, padding=1), *norm, *ends]
            channels = width
    features = 512 * (spec.height // 32) * (spec.width // 32)
    head = [nn.Linear(features, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, spec.classes)]
    return nn.Sequential(*layers, nn.Flatten(), *head)
