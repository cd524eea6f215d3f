"""Automatic augmentation: operations drawn for each image of an epoch, with their strengths.

TrivialAugment (Müller and Hutter 2021), RandAugment (Cubuk et al. 2020) and AutoAugment (Cubuk et al. 2019), with the
operations, ranges and policies of torchvision. The geometric ones join the image's affine map, so that it is sampled
once; colours follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import DataOptions
from .color import NUMBERS
from .geometry import affine, rotation, translation

Integers = Callable[[str, int], Tensor]
"""Draws an integer below a bound for each image, for a purpose: int64 [N]."""
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
COLORED = ("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize")
OPERATIONS = ("Identity", *GEOMETRIC, *COLORED, "Invert")
_SIGNED = (*GEOMETRIC, "Brightness", "Color", "Contrast", "Sharpness")
_CHOICES = len(OPERATIONS) - 1
"""TrivialAugment and RandAugment draw from all operations but Invert."""
_CIFAR = ("cifar10", "cifar100")


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is done to N images: matrices [N, 3, 3] in pixels of the output, colour operations and strengths [N, K]."""

    turned: Tensor
    operations: Tensor
    strengths: Tensor


def draw_operations(data: DataOptions, integers: Integers) -> Drawn:
    """Draw the operations of all images of an epoch."""
    chosen, magnitude, bins = _DRAWN[data.auto_augment](data, integers)
    table = _ranges(data, bins)
    levels = table[chosen, magnitude]
    signed = torch.tensor([name in _SIGNED for name in OPERATIONS])[chosen]
    signs = torch.stack([integers(f"sign {place}", 2) for place in range(chosen.shape[1])], 1)
    levels = torch.where(signed & (signs == 1), -levels, levels)
    return Drawn(_turned(data, chosen, levels), *_colors(chosen, levels))


def _trivial(_: DataOptions, integers: Integers) -> tuple[Tensor, Tensor, int]:
    return integers("operation 0", _CHOICES)[:, None], integers("magnitude 0", 31)[:, None], 31


def _rand(data: DataOptions, integers: Integers) -> tuple[Tensor, Tensor, int]:
    each = [integers(f"operation {place}", _CHOICES) for place in range(data.auto_augment_operations)]
    chosen = torch.stack(each, 1)
    return chosen, torch.full_like(chosen, data.auto_augment_magnitude), 31


def _auto(data: DataOptions, integers: Integers) -> tuple[Tensor, Tensor, int]:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy  # a second

    policy = AutoAugmentPolicy.CIFAR10 if data.name in _CIFAR else AutoAugmentPolicy.IMAGENET
    pairs = AutoAugment(policy).policies
    operation, likely, level = (
        torch.tensor([[_number(step[place]) for step in pair] for pair in pairs], dtype=torch.float64)
        for place in range(3)
    )
    drawn = integers("policy", len(pairs))
    happens = torch.stack([integers(f"chance {place}", 1000) for place in range(2)], 1) < 1000 * likely[drawn]
    return torch.where(happens, operation[drawn].long(), 0), level[drawn].long(), 10


def _number(value: str | float | None) -> float:
    return OPERATIONS.index(value) if isinstance(value, str) else float(value or 0)


_DRAWN = {"trivial": _trivial, "rand": _rand, "auto": _auto}


def _ranges(data: DataOptions, bins: int) -> Tensor:
    """The level of each operation at each magnitude: [operations, bins]."""
    height, width = data.sides
    wide = data.auto_augment == "trivial"
    steps = torch.arange(bins, dtype=torch.float64) / (bins - 1)
    most = {
        "ShearX": 0.99 if wide else 0.3,
        "ShearY": 0.99 if wide else 0.3,
        "TranslateX": 32.0 if wide else 150 / 331 * width,
        "TranslateY": 32.0 if wide else 150 / 331 * height,
        "Rotate": math.radians(135.0 if wide else 30.0),
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.99 if wide else 0.9),
    }
    table = torch.stack([steps * most.get(name, 0.0) for name in OPERATIONS])
    table[OPERATIONS.index("Posterize")] = 8 - (steps * (6 if wide else 4)).round()
    table[OPERATIONS.index("Solarize")] = 1 - steps
    return table


def _turned(data: DataOptions, chosen: Tensor, levels: Tensor) -> Tensor:
    """The geometric operations of each image as one matrix [N, 3, 3]; the last is the first that a pixel meets."""
    height, width = data.sides
    whole = torch.eye(3, dtype=torch.float64).expand(len(chosen), 3, 3)
    for place in range(chosen.shape[1]):
        level = {
            name: torch.where(chosen[:, place] == OPERATIONS.index(name), levels[:, place], 0.0) for name in GEOMETRIC
        }
        zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        # Sheared about the upper left corner, as in torchvision.
        shear_x = affine(one, level["ShearX"], level["ShearX"] * height / 2, zero, one, zero)
        shear_y = affine(one, zero, zero, level["ShearY"], one, level["ShearY"] * width / 2)
        moved = translation(level["TranslateX"].trunc(), level["TranslateY"].trunc())
        whole = whole @ shear_x @ shear_y @ moved @ rotation(level["Rotate"])
    return whole


def _colors(chosen: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The colour operations as `recolored` counts them, int64 [N, K], and their strengths, float32 [N, K]."""
    numbers = torch.tensor([NUMBERS.get(name, 0) for name in OPERATIONS])
    factors = torch.tensor([name in ("Brightness", "Color", "Contrast", "Sharpness") for name in OPERATIONS])
    return numbers[chosen], torch.where(factors[chosen], 1 + levels, levels).float()
