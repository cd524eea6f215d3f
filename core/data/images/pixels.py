"""Decode an image file to 8-bit pixels at one size: any mode and depth, upright, transparency over a background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps
from PIL.Image import Resampling

from .. import DataOptions, ImageFolderOptions
from ..dataset import Bytes
from .files import UnreadableError, opened

_SPARE = 1.5
"""A JPEG is decoded at a scale that leaves so many times the size asked for: the rest is resized as ever."""
_SIXTEEN_BITS = (0.0, 65535.0)


@dataclass(frozen=True, slots=True)
class PixelOptions:
    """How files and arrays become pixels of one size; see `DataOptions` and `ImageFolderOptions`."""

    resize: str
    background: str
    value_range: tuple[float, float] | None = None


def pixel_options(options: DataOptions) -> PixelOptions:
    """What the settings of a data set ask for."""
    values = options.value_range if isinstance(options, ImageFolderOptions) else "auto"
    low_high = None if values == "auto" else tuple(map(float, values.split(":")))
    return PixelOptions(options.resize, options.background, low_high)  # pyright: ignore[reportArgumentType]


def decode(path: Path, shape: tuple[int, ...], options: PixelOptions) -> Bytes:
    """The image of a file as uint8 of `shape` [C, H, W].

    Raises:
        UnreadableError: it cannot be decoded.
    """
    with opened(path) as picture:
        return to_pixels(picture, shape, options)


def to_pixels(picture: Image.Image, shape: tuple[int, ...], options: PixelOptions) -> Bytes:
    """The first frame of an opened picture as uint8 of `shape` [C, H, W]; a JPEG is scaled while it is decoded.

    Raises:
        UnreadableError: its values have no meaning as they are.
    """
    most = math.ceil(_SPARE * max(shape[1:]))
    picture.draft(None, (most, most))
    return fitted(_eight_bits(ImageOps.exif_transpose(picture), shape[0], options), shape, options)


def fitted(picture: Image.Image, shape: tuple[int, ...], options: PixelOptions) -> Bytes:
    """A grey or RGB picture as uint8 of `shape` [C, H, W], bilinear with antialiasing."""
    size = shape[2], shape[1]
    if picture.size != size:
        picture = _RESIZED[options.resize](picture, size, options.background)
    pixels = np.asarray(picture)
    return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)


def _squashed(picture: Image.Image, size: tuple[int, int], _: str) -> Image.Image:
    return picture.resize(size, Resampling.BILINEAR)


def _middle(picture: Image.Image, size: tuple[int, int], _: str) -> Image.Image:
    """The middle of a picture that has the shape of `size`, resized."""
    scale = min(picture.width / size[0], picture.height / size[1])
    wide, high = size[0] * scale, size[1] * scale
    left, top = (picture.width - wide) / 2, (picture.height - high) / 2
    return picture.resize(size, Resampling.BILINEAR, box=(left, top, left + wide, top + high))


def _letterboxed(picture: Image.Image, size: tuple[int, int], background: str) -> Image.Image:
    return ImageOps.pad(picture, size, Resampling.BILINEAR, ImageColor.getcolor(background, picture.mode))


_RESIZED = {"squash": _squashed, "shorter-side": _middle, "letterbox": _letterboxed}


def _eight_bits(picture: Image.Image, channels: int, options: PixelOptions) -> Image.Image:
    """A picture of any mode as grey or RGB."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = _scaled(picture, options.value_range)
    elif picture.mode == "LAB":
        profiles: Any = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(picture, *profiles, outputMode="RGB") or picture
    elif picture.has_transparency_data:
        premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(picture.mode)
        picture = (picture.convert(premultiplied) if premultiplied else picture).convert("RGBA")
        under = Image.new("RGBA", picture.size, options.background)
        picture = Image.alpha_composite(under, picture)
    return picture.convert("L" if channels == 1 else "RGB")


def _scaled(picture: Image.Image, value_range: tuple[float, float] | None) -> Image.Image:
    """A picture of one 16-bit, 32-bit or float channel in grey, the ends of the range as black and white.

    Raises:
        UnreadableError: no range was given, and the values tell none.
    """
    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    least, most = (values.min(), values.max()) if values.size else (0.0, 0.0)
    low, high = value_range or _SIXTEEN_BITS
    if value_range is None and (picture.mode == "F" or least < low or most > high):
        kind = "float" if picture.mode == "F" else "32-bit"
        raise UnreadableError(f"{kind} values from {least:g} to {most:g}: set data.value_range=LOW:HIGH")
    return Image.fromarray(np.rint((values.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8))
