"""The network of the CIFAR-10 speed records (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU")."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..data.image_spec import ImageSpec
from . import AirbenchOptions
from .pooling import GlobalMaxPool

ACTIVATIONS = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}


def _convolution(channels: int, width: int) -> nn.Conv2d:
    """A 3x3 convolution that is initialised to pass its input on."""
    layer = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    if not layer.weight.is_meta:
        nn.init.dirac_(layer.weight.data[: min(channels, width)])
    return layer


def _norm(width: int) -> nn.BatchNorm2d:
    """Batch norm with fast running statistics that learns only a bias."""
    norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


class Group(nn.Module):
    """A convolution, max pooling by 2, then more convolutions at that size; a shortcut around them if `residual`."""

    def __init__(self, channels: int, width: int, options: AirbenchOptions) -> None:
        super().__init__()
        act = ACTIVATIONS[options.activation]
        self.first = nn.Sequential(_convolution(channels, width), nn.MaxPool2d(2), _norm(width), act())
        self.rest = nn.ModuleList(
            nn.Sequential(_convolution(width, width), _norm(width)) for _ in range(options.depth - 1)
        )
        self.act = act()
        self.residual = options.residual

    def forward(self, images: Tensor) -> Tensor:
        images = shortcut = self.first(images)
        for number, layer in enumerate(self.rest, start=1):
            images = layer(images)
            if self.residual and number == len(self.rest):
                images = images + shortcut
            images = self.act(images)
        return images


class Scaled(nn.Module):
    """Logits times a fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.factor


def airbench(options: AirbenchOptions, spec: ImageSpec) -> nn.Module:
    """Three groups of convolutions: [B, C, H, W] to [B, classes]."""
    widths = [spec.channels, options.width1, options.width2, options.width3]
    groups = [Group(channels, width, options) for channels, width in pairwise(widths)]
    head = nn.Linear(options.width3, spec.classes, bias=False)
    if not head.weight.is_meta:
        with torch.no_grad():
            head.weight.div_(head.weight.std())
    return nn.Sequential(*groups, GlobalMaxPool(), nn.Flatten(), head, Scaled(options.scale))
