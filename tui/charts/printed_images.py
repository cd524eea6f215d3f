"""A grid of images for a terminal, printed line by line, or as one picture for a file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import ceil

import numpy as np
from rich.style import Style
from rich.text import Text

from .half_blocks import GAP, Cell, Pixels, Tiling, grid, half_blocks, scaled, text_cells, to_pixels

COLUMNS = 8
SMALL = 20
"""Cells that an image should have at least, even if fewer stand in a row."""


def printed_grid(images: Sequence[Pixels], captions: Sequence[str], width: int) -> Text:
    """Images [C, H, W] in half blocks with a line below each, in `width` cells."""
    height, wide = images[0].shape[1:]
    columns = max(1, min(COLUMNS, len(images), (width + GAP) // (SMALL + GAP)))
    room = (width + GAP) // columns - GAP
    shrink, enlarge = max(1, ceil(wide / room)), max(1, min(room // wide, SMALL // wide))
    each = ceil(wide / shrink) * enlarge
    lines = ceil(ceil(height / shrink) * enlarge / 2)
    plan = Tiling(shrink, enlarge, columns, ceil(len(images) / columns), max(each, SMALL - GAP), lines + 1, 1)
    tiles = [
        [*half_blocks(scaled(to_pixels(image), shrink, enlarge)), text_cells(caption, plan.width, "caption")]
        for image, caption in zip(images, captions, strict=True)
    ]
    return Text("\n").join(_line(row) for row in grid(tiles, plan))


def _line(cells: Sequence[Cell]) -> Text:
    line = Text(no_wrap=True)
    for (ink, ground), group in groupby(cells, key=lambda cell: (cell.ink, cell.ground)):
        line.append("".join(cell.text for cell in group), _style(ink, ground))
    return line


def _style(ink: object, ground: tuple[int, int, int] | None) -> Style:
    if not isinstance(ink, tuple):
        return Style()
    return Style(color="rgb({},{},{})".format(*ink), bgcolor="rgb({},{},{})".format(*ground) if ground else None)


def joined_picture(images: Sequence[Pixels]) -> Pixels:
    """Images [C, H, W] side by side on a white ground, as one [H, W, 3]."""
    tiles = [np.pad(to_pixels(image), ((1, 1), (1, 1), (0, 0)), constant_values=255) for image in images]
    blank = np.full_like(tiles[0], 255)
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    return np.concatenate([np.concatenate(row + [blank] * (min(COLUMNS, len(tiles)) - len(row)), 1) for row in rows])
