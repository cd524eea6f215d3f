"""Colour operations on whole batches, each image by its own strength: those of AutoAugment, and colour jitter.

They agree with torchvision's `adjust_*`, `posterize`, `solarize`, `autocontrast`, `equalize` and `invert` on uint8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_GREY = (0.2989, 0.587, 0.114)


def recolored(images: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Apply K operations, int64 [B, K], in turn, each by its strength [B, K], to images uint8 [B, H, W, C].

    0 is none, 1 is the first of COLORS. On a CPU each works on its images alone; elsewhere on all, and the others keep
    their pixels, so that nothing waits for the device.
    """
    apply = _grouped if images.device.type == "cpu" else _selected
    for place in range(operations.shape[1]):
        images = apply(images, operations[:, place], strengths[:, place])
    return images


def _grouped(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    images = images.clone()
    for number, name in enumerate(COLORS, start=1):
        chosen = (operation == number).nonzero()[:, 0]
        if len(chosen):
            images[chosen] = COLORS[name](images[chosen], strength[chosen].view(-1, 1, 1, 1))
    return images


def _selected(images: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    found = images
    for number, name in enumerate(COLORS, start=1):
        changed = COLORS[name](images, strength.view(-1, 1, 1, 1))
        found = torch.where((operation == number).view(-1, 1, 1, 1), changed, found)
    return found


def _blended(images: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    """`strength` of the images and the rest of another, cut off at 0 and 255."""
    return (images * strength + other * (1 - strength)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """The brightness of each pixel, rounded down: float32 [B, H, W, 1]."""
    if images.shape[3] == 1:
        return images.float()
    red, green, blue = images.unbind(3)
    return (red * _GREY[0] + green * _GREY[1] + blue * _GREY[2]).floor_()[..., None]


def _brightness(images: Tensor, strength: Tensor) -> Tensor:
    return (images * strength).clamp_(0, 255).to(torch.uint8)


def _saturation(images: Tensor, strength: Tensor) -> Tensor:
    return _blended(images, _grey(images), strength)


def _contrast(images: Tensor, strength: Tensor) -> Tensor:
    return _blended(images, _grey(images).mean((1, 2, 3), keepdim=True), strength)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with a smoothed copy; the outermost pixels stay."""
    height, width, channels = images.shape[1:]
    if height < 3 or width < 3:
        return images
    pixels = images.permute(0, 3, 1, 2).float()
    kernel = torch.ones(channels, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5.0
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = (functional.conv2d(pixels, kernel, groups=channels) / 13).round_()
    return _blended(images, smooth.permute(0, 2, 3, 1), strength)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep `strength` bits of each value."""
    kept = torch.pow(2.0, 8 - strength)
    return ((images / kept).floor_() * kept).to(torch.uint8)


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert values from `strength` times 255 on."""
    return torch.where(images >= strength * 255, 255 - images, images)


def _autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel from black to white."""
    low, high = (images.amin((1, 2), keepdim=True).float(), images.amax((1, 2), keepdim=True).float())
    stretched = (images - low) * (255 / (high - low).clamp(min=1))
    return torch.where(high > low, stretched, images.float()).clamp_(0, 255).to(torch.uint8)


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import equalize  # a second

    return equalize(images.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)


def _invert(images: Tensor, _: Tensor) -> Tensor:
    return 255 - images


COLORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": _brightness,
    "Color": _saturation,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
    "Invert": _invert,
}
"""By the names of AutoAugment; strengths are factors, bits, or a threshold from 0 to 1."""
NUMBERS = {name: number for number, name in enumerate(COLORS, start=1)}
