"""Data augmentation (crop, flip, jitter, cutout) on the device, whole batches at once.

Images lie channels last with their padding around them, the mirrored ones beside the plain ones: crop and flip together
are then one gather, or on a CPU one copy an image.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .index_plan import IndexPlan


def new_canvas(images: int, shape: tuple[int, int, int], padding: int, mirror: bool, device: torch.device) -> Tensor:
    """An empty canvas for N images of `shape` (C, H, W), uint8 [1 or 2, N, H + 2 padding, W + 2 padding, C].

    The second copy, if `mirror`, is for mirrored images.
    """
    channels, height, width = shape
    around = 2 * padding
    size = (1 + mirror, images, height + around, width + around, channels)
    return torch.zeros(size, dtype=torch.uint8, device=device)


def lay_out(canvas: Tensor, images: Tensor, padding: int, reflect: bool) -> None:
    """Copy images [N, C, H, W] into their part of a canvas, padded with zeros or by reflection."""
    pixels = images.permute(0, 2, 3, 1).contiguous()
    rows, columns = (_reflected(side, padding, pixels.device) for side in pixels.shape[1:3])
    for number, copy in enumerate(canvas):
        turned = pixels.flip(2) if number else pixels
        if reflect and padding:
            copy.copy_(turned[:, rows][:, :, columns])
        else:
            _inside(copy, padding).copy_(turned)


def _inside(canvas: Tensor, padding: int) -> Tensor:
    height, width = canvas.shape[-3:-1]
    return canvas[..., padding : height - padding, padding : width - padding, :]


def plain(canvas: Tensor, sides: tuple[int, int], part: slice) -> Tensor:
    """The centres of the images in a slice, without augmentation: uint8 [B, H, W C] with H and W of `sides`."""
    top, left = ((whole - side) // 2 for whole, side in zip(canvas.shape[2:4], sides, strict=True))
    return canvas[0, part, top : top + sides[0], left : left + sides[1]].flatten(2)


@cache
def _reflected(side: int, padding: int, device: torch.device) -> Tensor:
    """Source indices of a reflected side; the edge itself is not repeated."""
    places = torch.arange(-padding, side + padding, device=device).abs()
    return (side - 1) - (side - 1 - places).abs()


class Windows:
    """Crops of the images in a canvas, each identified by the offset of its first byte."""

    def __init__(self, canvas: Tensor, padding: int) -> None:
        _, self.count, height, width, self.channels = canvas.shape
        self.flat = canvas.view(-1)
        self.row, self.image = width * self.channels, height * width * self.channels
        self.height, self.wide = height - 2 * padding, (width - 2 * padding) * self.channels
        self.length = (self.height - 1) * self.row + self.wide
        """Bytes from the first to the last of a crop, including what lies between its rows."""

    def places(self, index: Tensor, plan: IndexPlan) -> Tensor:
        """The offsets [N] of the crops that a plan describes, for the images `index` [N]."""
        if plan.flip is not None:
            index = index + plan.flip * self.count
        places = index * self.image
        if plan.top is not None and plan.left is not None:
            places += plan.top * self.row + plan.left * self.channels
        return places

    def cut(self, places: Tensor) -> Tensor:
        """The crops at offsets [B]: uint8 [B, H, W C]."""
        return self.copied(places) if self.flat.device.type == "cpu" else self.gathered(places)

    def gathered(self, places: Tensor) -> Tensor:
        """The crops, by one gather on the device."""
        size = (len(self.flat) - self.length + 1, self.height, self.wide)
        return self.flat.as_strided(size, (1, self.row, 1))[places]

    def copied(self, places: Tensor) -> Tensor:
        """The same on a CPU, several times as fast: each crop is one copy of its bytes."""
        pixels = self.flat.numpy()
        windows = np.ndarray((pixels.size - self.length + 1,), f"V{self.length}", pixels.data, strides=(1,))
        found = torch.from_numpy(windows[places.numpy()].view(np.uint8))
        return found.as_strided((len(places), self.height, self.wide), (self.length, self.row, 1))


def jitter(pixels: Tensor, plan: IndexPlan, part: slice) -> Tensor:
    """Multiply normalised pixels [B, H, W C] by the plan's contrast and add its brightness, in place."""
    if plan.contrast is None or plan.brightness is None:
        return pixels
    return pixels.mul_(plan.contrast[part, None, None]).add_(plan.brightness[part, None, None])


def cut_out(images: Tensor, plan: IndexPlan, part: slice, size: int) -> Tensor:
    """Set a square of `size` pixels to 0 in normalised images [B, H, W, C], in place (DeVries and Taylor 2017)."""
    if plan.cut_top is None or plan.cut_left is None:
        return images
    height, width = images.shape[1:3]
    rows = _within(plan.cut_top[part], height, size)
    columns = _within(plan.cut_left[part], width, size)
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[..., None], 0.0)


def erase(images: Tensor, plan: IndexPlan, part: slice) -> Tensor:
    """Set the plan's box of each normalised image [B, H, W, C] to 0, in place."""
    if plan.erased is None:
        return images
    (top, left, height, width), sides = plan.erased[part].unbind(1), images.shape[1:3]
    rows, columns = _within(top, sides[0], height[:, None]), _within(left, sides[1], width[:, None])
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[..., None], 0.0)


def _within(start: Tensor, side: int, size: int | Tensor) -> Tensor:
    """For each of B boxes, which of the `side` coordinates are inside it: [B, side]."""
    places = torch.arange(side, device=start.device) - start[:, None]
    return (places >= 0) & (places < size)
