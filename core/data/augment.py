"""Augmentation on the device, whole batches at once.

Images lie channels last with their padding around them, the mirrored ones beside the plain ones: a crop is then a few
long copies, and crop and flip together are one gather.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.data.index_plan import IndexPlan


def new_canvas(images: int, shape: tuple[int, int, int], padding: int, mirror: bool, device: torch.device) -> Tensor:
    """Zeros for N images of `shape` (C, H, W), and mirrored: uint8 [1 or 2, N, H + 2 padding, W + 2 padding, C]."""
    channels, height, width = shape
    around = 2 * padding
    size = (1 + mirror, images, height + around, width + around, channels)
    return torch.zeros(size, dtype=torch.uint8, device=device)


def lay_out(canvas: Tensor, images: Tensor, padding: int, reflect: bool) -> None:
    """Put images [N, C, H, W] into their part of a canvas, with zeros around or reflected at their edges."""
    pixels = images.permute(0, 2, 3, 1).contiguous()
    for number, copy in enumerate(canvas):
        turned = pixels.flip(2) if number else pixels
        if reflect and padding:
            rows, columns = (_reflected(side, padding).to(pixels.device) for side in pixels.shape[1:3])
            copy.copy_(turned[:, rows][:, :, columns])
        else:
            _inside(copy, padding).copy_(turned)


def _inside(canvas: Tensor, padding: int) -> Tensor:
    height, width = canvas.shape[-3:-1]
    return canvas[..., padding : height - padding, padding : width - padding, :]


def plain(canvas: Tensor, padding: int, part: slice) -> Tensor:
    """The images of a part as they are: uint8 [B, H, W C]."""
    return _inside(canvas[0, part], padding).flatten(2)


def _reflected(side: int, padding: int) -> Tensor:
    """The indices of a padded side: the edge itself is not repeated."""
    places = torch.arange(-padding, side + padding).abs()
    return (side - 1) - (side - 1 - places).abs()


class Windows:
    """Every window of every image of a canvas, cut out as a plan asks."""

    def __init__(self, canvas: Tensor, padding: int) -> None:
        copies, self.count, height, width, self.channels = canvas.shape
        self.flat = canvas.view(copies * self.count, -1)
        self.height, self.width, self.padding = height - 2 * padding, width - 2 * padding, padding
        self.row = width * self.channels
        self.image = height * self.row
        self.starts = np.arange(self.height) * self.row

    def cut(self, index: Tensor, plan: IndexPlan, part: slice) -> Tensor:
        """The windows that the plan's part asks for, of the images `index` [B]: uint8 [B, H, W C]."""
        if plan.flip is not None:
            index = index + plan.flip[part] * self.count
        if plan.top is None or plan.left is None:
            # Not flat[index], which on a CPU copies byte by byte.
            return self.flat.index_select(0, index).view(len(index), self.height, -1)
        corner = plan.top[part], plan.left[part]
        return self.copied(index, *corner) if self.flat.device.type == "cpu" else self.gathered(index, *corner)

    def gathered(self, index: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """The windows at corners [B] by one gather on the device."""
        places, wide = 2 * self.padding + 1, self.width * self.channels
        size = (len(self.flat), places, places, self.height, wide)
        view = self.flat.as_strided(size, (self.image, self.row, self.channels, self.row, 1))
        return view[index, top, left]

    def copied(self, index: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """The same on a CPU, three times as fast: each row of a window is one copy of its bytes."""
        wide = self.width * self.channels
        pixels = self.flat.numpy().reshape(-1)
        rows = np.ndarray((pixels.size - wide + 1,), f"V{wide}", pixels.data, strides=(1,))
        first = index * self.image + top * self.row + left * self.channels
        starts = first.numpy()[:, None] + self.starts
        return torch.from_numpy(rows[starts].view(np.uint8).reshape(len(index), self.height, wide))


def jitter(pixels: Tensor, plan: IndexPlan, part: slice) -> Tensor:
    """Normalised pixels [B, H, W C], times the plan's contrast plus its brightness, in place."""
    if plan.contrast is None or plan.brightness is None:
        return pixels
    return pixels.mul_(plan.contrast[part, None, None]).add_(plan.brightness[part, None, None])


def cut_out(images: Tensor, plan: IndexPlan, part: slice, size: int) -> Tensor:
    """Normalised images [B, H, W, C] with a square of `size` set to 0, in place (DeVries and Taylor 2017)."""
    if plan.cut_top is None or plan.cut_left is None:
        return images
    height, width = images.shape[1:3]
    rows = _within(plan.cut_top[part], height, size)
    columns = _within(plan.cut_left[part], width, size)
    return images.masked_fill_((rows[:, :, None] & columns[:, None, :])[..., None], 0.0)


def _within(start: Tensor, side: int, size: int) -> Tensor:
    """For each of B squares, which of the `side` places lie in it: [B, side]."""
    places = torch.arange(side, device=start.device) - start[:, None]
    return (places >= 0) & (places < size)
