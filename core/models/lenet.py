"""LeNet-5 in its modern form (LeCun et al. 1998)."""

from __future__ import annotations

from torch import nn

from ..data.image_spec import ImageSpec
from . import LeNetOptions
from .pooling import relu_and_pool


def lenet(options: LeNetOptions, spec: ImageSpec) -> nn.Module:
    """Two 5x5 convolutions with pooling, three fully connected layers: [B, C, H, W] to [B, classes]."""
    height, width = (((side - 4) // 2 - 4) // 2 for side in (spec.height, spec.width))
    dropout = [nn.Dropout(options.dropout)] if options.dropout else []
    return nn.Sequential(
        *(nn.Conv2d(spec.channels, 6, 5), *relu_and_pool()),
        *(nn.Conv2d(6, 16, 5), *relu_and_pool()),
        nn.Flatten(),
        *(nn.Linear(16 * height * width, 120), nn.ReLU(), *dropout),
        *(nn.Linear(120, 84), nn.ReLU(), *[nn.Dropout(options.dropout) for _ in dropout]),
        nn.Linear(84, spec.classes),
    )
