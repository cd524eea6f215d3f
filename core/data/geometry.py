"""Random crops, rotation, shear and translation: one affine map an image, and one sampling of the image by it.

A map [6] leads from the output to the stored image: for output coordinates u, v from -1/2 to 1/2, the source is at
x = a u + b v + c and y = d u + e v + f, in pixels of the stored image from its upper left corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from . import DataOptions

Uniform = Callable[[str, float, float], Tensor]
"""Draws a number for each image, for a purpose and between two bounds: float64 [N]."""
TRIES = 10
"""Boxes that are drawn for an image before all of it is taken."""
MAX_SHRINKAGE = 1.5
"""An image that shrinks more is read from a halved copy."""
AT_ONCE = 4
"""Images sampled together on a CPU, so that they stay in its cache."""


def affine(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    """Matrices [N, 3, 3] with the rows (a, b, c), (d, e, f) and (0, 0, 1), from tensors that broadcast to [N]."""
    rows = torch.broadcast_tensors(a, b, c, d, e, f)
    upper = torch.stack(rows, -1).view(-1, 2, 3)
    return torch.cat([upper, upper.new_tensor([[[0.0, 0.0, 1.0]]]).expand(len(upper), 1, 3)], 1)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Matrices [N, 3, 3] that multiply coordinates by x [N] and y [N]."""
    zero = torch.zeros((), dtype=x.dtype)
    return affine(x, zero, zero, zero, y, zero)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Matrices [N, 3, 3] that add x [N] and y [N]."""
    zero, one = torch.zeros((), dtype=x.dtype), torch.ones((), dtype=x.dtype)
    return affine(one, zero, x, zero, one, y)


def rotation(angle: Tensor) -> Tensor:
    """Matrices [N, 3, 3] that rotate by angles [N] in radians."""
    zero = torch.zeros((), dtype=angle.dtype)
    return affine(angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero)


def draw_maps(data: DataOptions, uniform: Uniform, flip: Tensor | None, turned: Tensor | None) -> Tensor:
    """The maps [N, 6] of an epoch's images, float32: crop, then flip [N], then `turned` [N, 3, 3], then rotation.

    The matrices `turned` and the rotation are in pixels of the output, from its centre.
    """
    height, width = data.sides
    boxes = _boxes(data, uniform)
    sign = torch.ones(len(boxes), dtype=torch.float64) if flip is None else 1.0 - 2.0 * flip.double()
    whole = torch.full((1,), float(width)), torch.full((1,), float(height))
    maps = translation(boxes[:, 0], boxes[:, 1]) @ scaling(sign * boxes[:, 2] / width, boxes[:, 3] / height)
    if turned is not None:
        maps = maps @ turned
    if data.rotation:
        maps = maps @ rotation(uniform("rotation", -1, 1) * math.radians(data.rotation))
    return (maps @ scaling(whole[0].double(), whole[1].double()))[:, :2].reshape(-1, 6).float()


def _boxes(data: DataOptions, uniform: Uniform) -> Tensor:
    """Centre x and y, width and height of the boxes [N, 4] that are cut out, in pixels of the stored image."""
    (height, width), (stored_height, stored_width) = data.sides, data.stored_sides
    if data.crop == "random-resized":
        wide, high = _random_shapes(data, uniform)
        left, top = uniform("left", 0, 1) * (1 - wide), uniform("top", 0, 1) * (1 - high)
        shares = torch.stack([left + wide / 2, top + high / 2, wide, high], 1)
        return shares * torch.tensor([stored_width, stored_height, stored_width, stored_height])
    reach = 2 * data.crop_padding + 1 if data.crop == "pad" else 1
    middles = [
        (stored - side) // 2 + side / 2 + uniform(purpose, 0, reach).floor() - reach // 2
        for purpose, side, stored in (("left", width, stored_width), ("top", height, stored_height))
    ]
    return torch.stack([*middles, *(torch.full_like(middles[0], side) for side in (width, height))], 1)


def _random_shapes(data: DataOptions, uniform: Uniform) -> tuple[Tensor, Tensor]:
    """Width and height of random boxes as shares of the image's, each [N]: the first of some tries that fits."""
    wide = torch.ones_like(uniform("left", 0, 1))
    high, found = torch.ones_like(wide), torch.zeros_like(wide, dtype=torch.bool)
    reach = math.log(data.crop_ratio)
    for number in range(TRIES):
        area, ratio = uniform(f"area {number}", data.crop_scale, 1), uniform(f"ratio {number}", -reach, reach).exp()
        tried = (area * ratio).sqrt(), (area / ratio).sqrt()
        fits = ~found & (tried[0] <= 1) & (tried[1] <= 1)
        wide, high = torch.where(fits, tried[0], wide), torch.where(fits, tried[1], high)
        found |= fits
    return wide, high


def sample(images: Tensor, places: Tensor | None, maps: Tensor, sides: tuple[int, int], reflect: bool) -> Tensor:
    """Sample images, uint8 [N, H, W, C], at `places` [B] or all of them, by maps [B, 6]: uint8 [B, h, w, C].

    `sides` are h and w. Bilinear; the outside is black, or reflected. The number of halved copies depends on the sides
    alone, so that the shapes of all tensors are known beforehand.
    """
    step = AT_ONCE if images.device.type == "cpu" else max(1, len(maps))
    out = torch.empty(len(maps), *sides, images.shape[3], dtype=torch.uint8, device=images.device)
    for start in range(0, len(maps), step):
        part = slice(start, start + step)
        pixels = (images[part] if places is None else images[places[part]]).permute(0, 3, 1, 2).float()
        found = _sampled(pixels, _grid(maps[part], sides, pixels), maps[part], sides, reflect)
        out[part] = found.add_(0.5).permute(0, 2, 3, 1)
    return out


def _grid(maps: Tensor, sides: tuple[int, int], pixels: Tensor) -> Tensor:
    """Where each output pixel lies in the image, as `grid_sample` counts, from -1 to 1: [B, h, w, 2]."""
    height, width = sides
    u = (torch.arange(width, device=maps.device) + 0.5) / width - 0.5
    v = (torch.arange(height, device=maps.device) + 0.5) / height - 0.5
    across, down, start = (maps.view(-1, 2, 3)[:, None, None, :, place] for place in range(3))
    whole = torch.stack([_filled(pixels, 3), _filled(pixels, 2)])
    places = u[None, None, :, None] * across + (v[None, :, None, None] * down + start)
    return places * (2 / whole) - 1


def _filled(pixels: Tensor, axis: int) -> Tensor:
    """The length of an axis as a tensor, which a CUDA graph can contain."""
    return torch.full((), float(pixels.shape[axis]), device=pixels.device)


def _sampled(pixels: Tensor, grid: Tensor, maps: Tensor, sides: tuple[int, int], reflect: bool) -> Tensor:
    """The output [B, C, h, w] as float32, each image from the copy that fits its shrinkage."""
    shrinkage = _shrinkage(maps, sides)
    most = max(pixels.shape[2] / sides[0], pixels.shape[3] / sides[1])
    found, limit = _read(pixels, grid, reflect), MAX_SHRINKAGE
    while most > limit:
        pixels = functional.avg_pool2d(pixels, 2, ceil_mode=True, count_include_pad=False)
        found = torch.where((shrinkage > limit)[:, None, None, None], _read(pixels, grid, reflect), found)
        limit *= 2
    if reflect:
        return found
    inside = (grid.abs() <= 1 + 1e-5).all(3)
    return found.mul_(inside[:, None])


def _read(pixels: Tensor, grid: Tensor, reflect: bool) -> Tensor:
    outside = "reflection" if reflect else "border"
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def _shrinkage(maps: Tensor, sides: tuple[int, int]) -> Tensor:
    """How many pixels of the image make one of the output, [B]: the mean over its two axes."""
    along = maps.view(-1, 2, 3)
    return (along[:, :, 0].norm(dim=1) / sides[1] * along[:, :, 1].norm(dim=1) / sides[0]).sqrt()
