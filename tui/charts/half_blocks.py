"""Images as coloured half-block characters: pixels, filters, tiles of images; and tints of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from ...core.results.class_metrics import Confusion
from ..format.values import safe

Rgb = tuple[int, int, int]
Pixels = NDArray[np.uint8]

HALF_BLOCK = "▀"
SHADES = " .:-=+*#%@"
MAX_SCALE = 4
SMALL_IMAGE = 32
CAPTION_WIDTH = 12
GAP = 1
NOTABLE_ERROR = 1.25


class Cell(NamedTuple):
    """One character of a picture; a named ink is looked up by the widget, None means its default colours.

    A character that is two cells wide is followed by a cell with an empty text.
    """

    text: str
    ink: Rgb | str | None = None
    ground: Rgb | None = None


Rows = list[list[Cell]]


class Tiling(NamedTuple):
    """How images of one size share a space: each is shrunk, then enlarged, in tiles of `width` by `lines` cells."""

    shrink: int
    enlarge: int
    columns: int
    rows: int
    width: int
    lines: int
    lines_between: int


# Text


def shorten(text: str, width: int, ascii_only: bool = False) -> str:
    """Untrusted text made safe and cut to `width` cells, with an ellipsis if there is room for one."""
    clean = safe(text)
    if ascii_only:
        clean = clean.encode("ascii", "replace").decode()
    if cell_len(clean) <= width:
        return clean
    mark = "" if ascii_only or width < 4 else "…"
    return set_cell_size(clean, max(0, width - len(mark))).rstrip() + mark


def end_of(text: str, width: int, ascii_only: bool = False) -> str:
    """The end of an untrusted text in at most `width` character cells; for paths, whose end says most."""
    clean = shorten(text, cell_len(text), ascii_only)
    if cell_len(clean) <= width:
        return clean
    mark = "" if ascii_only or width < 4 else "…"
    while cell_len(clean) > max(0, width - len(mark)):
        clean = clean[1:]
    return mark + clean


def text_cells(text: str, width: int, ink: str, ascii_only: bool = False) -> list[Cell]:
    """Untrusted text as at most `width` cells in a named ink."""
    cells: list[Cell] = []
    for character in shorten(text, width, ascii_only):
        match cell_len(character):
            case 0 if cells:
                cells[-1] = cells[-1]._replace(text=cells[-1].text + character)
            case 2:
                cells += [Cell(character, ink), Cell("", ink)]
            case _:
                cells.append(Cell(character, ink))
    return cells


def short_count(number: int, width: int) -> str:
    """A count in at most `width` characters (three or more), abbreviated to thousands or millions if necessary."""
    digits = str(number)
    if len(digits) <= width:
        return digits
    if number < 100_000:
        return f"{number // 1000}k"
    return f".{number // 100_000}M" if number < 1_000_000 else f"{number // 1_000_000}M"


# Colours


def blend(ground: Rgb, ink: Rgb, strength: float) -> Rgb:
    """`ink` blended over `ground`: strength 0 is the ground, 1 is the ink."""
    red, green, blue = (round(low + (high - low) * strength) for low, high in zip(ground, ink, strict=True))
    return red, green, blue


def readable_on(ground: Rgb) -> Rgb:
    """Black or white, whichever has more contrast (relative luminance of WCAG 2)."""
    linear = [value / 3294.6 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in ground]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


# Images


def to_pixels(image: Pixels) -> Pixels:
    """An image [C, H, W] as pixels [H, W, 3]: three channels are RGB, any other number is averaged to grey."""
    if image.shape[0] == 3:
        return np.ascontiguousarray(image.transpose(1, 2, 0))
    grey = image.mean(axis=0) if image.shape[0] else np.zeros(image.shape[1:])
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def filter_images(weights: NDArray[np.floating], normalize: Literal["each", "all"]) -> Pixels:
    """Filters [N, C, K, K] as images [N, 3 or 1, K, K], scaled from black to white by filter or over all filters."""
    values = np.nan_to_num(weights.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(-1e30, 1e30)
    if values.size == 0:
        return np.zeros((0, 1, 1, 1), np.uint8)
    if values.shape[1] not in (1, 3):
        values = values.mean(axis=1, keepdims=True)
    axes = (1, 2, 3) if normalize == "each" else None
    low, high = values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)
    flat = high - low == 0
    spread = (values - low) / np.where(flat, 1.0, high - low)
    return np.rint(np.where(flat, 0.5, spread) * 255).astype(np.uint8)


def scaled(pixels: Pixels, shrink: int, enlarge: int) -> Pixels:
    """Pixels [H, W, 3] averaged over squares of side `shrink`, then repeated `enlarge` times in both directions."""
    if shrink > 1:
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -height % shrink), (0, -width % shrink), (0, 0)), mode="edge")
        squares = padded.reshape(padded.shape[0] // shrink, shrink, padded.shape[1] // shrink, shrink, 3)
        pixels = np.rint(squares.mean(axis=(1, 3))).astype(np.uint8)
    return pixels.repeat(enlarge, axis=0).repeat(enlarge, axis=1)


def half_blocks(pixels: Pixels) -> Rows:
    """Pixels [H, W, 3] as rows of cells, the upper of two pixels as ink, the lower one as background."""
    values: list[list[list[int]]] = pixels.tolist()
    rows: Rows = []
    for upper in range(0, len(values), 2):
        lower = values[upper + 1] if upper + 1 < len(values) else [None] * len(values[upper])
        rows.append([Cell(HALF_BLOCK, _rgb(top), _rgb(low)) for top, low in zip(values[upper], lower, strict=True)])
    return rows


def _rgb(value: list[int] | None) -> Rgb | None:
    return None if value is None else (value[0], value[1], value[2])


def ascii_shades(pixels: Pixels, dark_ground: bool = True) -> Rows:
    """Pixels [H, W, 3] as ASCII characters, each the mean of two pixels: denser is brighter on a dark background."""
    if pixels.size == 0:
        return []
    grey = np.pad(pixels.mean(axis=2), ((0, pixels.shape[0] % 2), (0, 0)), mode="edge")
    levels = np.rint((grey[0::2] + grey[1::2]) / 510 * (len(SHADES) - 1)).astype(int)
    shades = SHADES if dark_ground else SHADES[::-1]
    return [[Cell(shades[level]) for level in row] for row in levels.tolist()]


# Many images


def tiling(count: int, image: tuple[int, int], space: tuple[int, int], caption_lines: int = 0) -> Tiling:
    """The largest scale at which all images (height, width) fit the space (lines, cells); else a scale for pages.

    Large images are shrunk until four fit on a page or they are small; any image is shrunk until one fits.
    """
    for enlarge in range(MAX_SCALE, 0, -1):
        found = _tiling(count, image, space, caption_lines, 1, enlarge)
        if found.columns * found.rows >= count:
            return found
    for shrink in range(1, max(image) + 1):
        found = _tiling(count, image, space, caption_lines, shrink, 1)
        wanted = min(count, 4) if max(image) >= SMALL_IMAGE * (shrink + 1) else 1
        if found.columns * found.rows >= wanted:
            return found
    return Tiling(1, 1, 0, 0, 0, 0, 0)


def _tiling(
    count: int, image: tuple[int, int], space: tuple[int, int], caption_lines: int, shrink: int, enlarge: int
) -> Tiling:
    height, width = (ceil(side / shrink) * enlarge for side in image)
    if caption_lines:
        width = max(width, min(CAPTION_WIDTH, space[1]))
    lines = ceil(height / 2) + caption_lines
    # An image of an odd height leaves half a line free already.
    lines_between = GAP if caption_lines or height % 2 == 0 else 0
    columns, rows = (space[1] + GAP) // (width + GAP), (space[0] + lines_between) // (lines + lines_between)
    if columns and rows and not caption_lines:
        columns = _even_columns(count, min(columns, count), rows)
    return Tiling(shrink, enlarge, min(columns, count), rows, width, lines, lines_between)


def _even_columns(count: int, limit: int, rows: int) -> int:
    """The number of columns that fills all rows, nearest to a square; the most that fit if there is none."""
    divisors = [columns for columns in range(ceil(count / rows), limit + 1) if count % columns == 0]
    return min(divisors, key=lambda columns: (abs(columns - sqrt(count)), -columns), default=limit)


def grid(tiles: Sequence[Rows], plan: Tiling) -> Rows:
    """Arrange tiles in rows, with a free cell between columns."""
    rows: Rows = []
    for first in range(0, len(tiles), max(1, plan.columns)):
        if rows:
            rows += [[] for _ in range(plan.lines_between)]
        rows += [_line(tiles[first : first + plan.columns], line, plan.width) for line in range(plan.lines)]
    return rows


def _line(tiles: Sequence[Rows], line: int, width: int) -> list[Cell]:
    cells: list[Cell] = []
    for tile in tiles:
        part = tile[line] if line < len(tile) else []
        cells += [*part, *[Cell(" ")] * (width + GAP - len(part))]
    return cells


# Confusion matrices


def shares(confusion: Confusion) -> NDArray[np.float64]:
    """Each row as fractions of its class's images; zeros for a class without images."""
    counts = np.asarray(confusion, dtype=np.float64).reshape(len(confusion), len(confusion))
    totals = counts.sum(axis=1, keepdims=True)
    return counts / np.where(totals == 0, 1.0, totals)


def _mistakes(confusion: Confusion) -> NDArray[np.int64]:
    counts = np.array(confusion, dtype=np.int64).reshape(len(confusion), len(confusion))
    np.fill_diagonal(counts, 0)
    return counts


def worst_pairs(confusion: Confusion, limit: int) -> list[tuple[int, int, int]]:
    """The most frequent mistakes as (true class, predicted class, images), worst first."""
    mistakes = _mistakes(confusion)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(place), len(confusion)) for place in order]
    return [(true, predicted, int(mistakes[true, predicted])) for true, predicted in pairs if mistakes[true, predicted]]


def most_confused(confusion: Confusion, limit: int) -> list[int]:
    """The classes with the most mistakes (false negatives plus false positives), worst first."""
    mistakes = _mistakes(confusion)
    return [int(index) for index in np.argsort(-(mistakes.sum(0) + mistakes.sum(1)), kind="stable")[:limit]]


def tint_strengths(confusion: Confusion) -> NDArray[np.float64]:
    """How strongly to tint each cell, from 0 to 1: the diagonal by its share, errors only if they stand out.

    Errors above 1.25 times the mean error are tinted, relative to the largest: a fixed scale would tint all errors of
    a weak model.
    """
    fractions = shares(confusion)
    errors = fractions.copy()
    np.fill_diagonal(errors, 0.0)
    pairs = max(1, len(confusion) * (len(confusion) - 1))
    notable, largest = NOTABLE_ERROR * errors.sum() / pairs, errors.max(initial=0.0)
    room = largest - notable
    strengths = np.where(errors > notable, 0.15 + 0.85 * (errors - notable) / (room if room > 0 else 1.0), 0.0)
    np.fill_diagonal(strengths, np.where(fractions.diagonal() > 0, 0.25 + 0.75 * fractions.diagonal(), 0.0))
    return strengths
