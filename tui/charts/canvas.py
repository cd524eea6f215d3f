"""The canvas of a chart: a grid of character cells with frame, ticks, rules and background tints."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..format.values import safe
from .axes import Floats, Rows, Tick, column_ticks
from .points import Binned


class Cell(NamedTuple):
    """One character with keys of its colours: ink "axis", "series-3", ... and tint (background) "tint-3", ... or ""."""

    char: str = " "
    ink: str = ""
    tint: str = ""


BLANK = Cell()


Sheet = list[list[Cell]]


@dataclass(frozen=True, slots=True)
class Grid:
    """The plot area: its position among the cells, its scales, and the dots per cell across and up."""

    left: int
    columns: int
    rows: int
    x_low: float
    x_high: float
    y: Rows
    across: int
    up: int

    def dots(self, values: Floats) -> Floats:
        """Heights in dots, 0 being the lowest; may lie outside the plot."""
        return np.floor(self.y.of(values) * self.up + self.up / 2)

    def row_of(self, height: float) -> int:
        """The row of a value, 0 being the lowest; may lie outside the plot."""
        return round(float(self.y.of(np.array([height]))[0]))


def paint_tint(cells: Sheet, grid: Grid, spread: Binned, tint: str, plain: bool) -> None:
    """Tint each column from the lowest to the highest value, to half a cell."""
    bottom, top = (np.floor(grid.y.of(values) * 2 + 1) for values in (spread.low, spread.high))
    seen = (spread.counts > 1) & (top >= 0) & (bottom < 2 * grid.rows)
    bottom = np.maximum(bottom, 0)[seen].astype(int).tolist()
    top = np.minimum(top, 2 * grid.rows - 1)[seen].astype(int).tolist()
    for column, low, high in zip((spread.columns[seen] + grid.left).tolist(), bottom, top, strict=True):
        for row in range(low // 2, high // 2 + 1):
            line = cells[grid.rows - 1 - row]
            if plain or (low <= 2 * row and high > 2 * row):
                line[column] = Cell(" ", "", tint)
            else:
                line[column] = Cell("▀" if low > 2 * row else "▄", tint, line[column].tint)


def paint_rule(cells: Sheet, grid: Grid, height: float, plain: bool) -> None:
    """Draw a dashed line across the plot."""
    row = grid.row_of(height)
    if not 0 <= row < grid.rows:
        return
    line = cells[grid.rows - 1 - row]
    for column in range(grid.left, grid.left + grid.columns):
        if not plain or column % 2:
            line[column] = Cell("-" if plain else "╌", "rule", _tint_of(line[column]))


def _tint_of(cell: Cell) -> str:
    """The background that a character written over this cell gets."""
    return cell.tint or (cell.ink if cell.ink.startswith("tint") else "")


def put(cells: Sheet, row: int, column: int, char: str, ink: str) -> None:
    """Write one character over a cell, keeping its tint."""
    cells[row][column] = Cell(char, ink, _tint_of(cells[row][column]))


def paint_rule_label(cells: Sheet, grid: Grid, height: float, label: str, plain: bool) -> None:
    """Write the rule's label where it hides the least: right, left or centre, on the rule, above or below it."""
    text = narrow(label, plain)[: grid.columns]
    row = grid.row_of(height)
    if not 0 <= row < grid.rows:
        text = (("^ " if plain else "▲ ") if row > 0 else ("v " if plain else "▼ ")) + text
        text = text[: grid.columns]
        row = min(max(0, row), grid.rows - 1)
    right = grid.left + grid.columns - len(text)
    spots = [(r, c) for c in (right, grid.left + 1, (grid.left + right) // 2) for r in (row, row + 1, row - 1)]
    spots = [(grid.rows - 1 - r, c) for r, c in spots if 0 <= r < grid.rows and grid.left <= c <= right]
    if not spots or not text:
        return
    hidden = [sum(map(_is_hidden, cells[r][c : c + len(text)])) for r, c in spots]
    row, column = spots[hidden.index(min(hidden))]
    for offset, char in enumerate(text):
        put(cells, row, column + offset, char, "rule")


def _is_hidden(cell: Cell) -> bool:
    """Whether a label over this cell would hide a line or a label (not just space, tint or a rule)."""
    return cell.char not in " ▀▄" and (cell.ink != "rule" or cell.char not in "╌-")


def paint_axes(cells: Sheet, grid: Grid, x_unit: str, *, plain: bool, framed: bool) -> None:
    """Draw the frame with ticks and labels, and the unit of x at the right."""
    corner, side, floor, left_tick, down_tick = "+|-++" if plain else "└│─┤┬"
    if grid.left:
        heights = {tick.at: tick.label for tick in grid.y.ticks}
        for row in range(grid.rows):
            put(cells, grid.rows - 1 - row, grid.left - 1, left_tick if row in heights else side, "axis")
            label = heights.get(row, "")
            write(cells, grid.rows - 1 - row, grid.left - 1 - len(label), label, "label")
    if not framed:
        return
    start = max(0, grid.left - 1)
    write(cells, grid.rows, start, (corner if grid.left else floor) + floor * (len(cells[0]) - start - 1), "axis")
    unit = narrow(x_unit, plain)[: max(0, grid.columns - 4)]
    write(cells, grid.rows + 1, len(cells[0]) - len(unit), unit, "label")
    whole = x_unit in ("step", "epoch")
    for tick in column_ticks(grid.x_low, grid.x_high, grid.columns, len(unit), whole=whole):
        _paint_column_tick(cells, grid, tick, down_tick)


def _paint_column_tick(cells: Sheet, grid: Grid, tick: Tick, char: str) -> None:
    """Draw a tick of the x axis with its label centred below, if there is room."""
    start = max(0, grid.left + tick.at - (len(tick.label) - 1) // 2)
    below = cells[grid.rows + 1][max(0, start - 1) : start + len(tick.label) + 1]
    if any(cell.char != " " for cell in below) or start + len(tick.label) > len(cells[0]):
        return
    put(cells, grid.rows, grid.left + tick.at, char, "axis")
    write(cells, grid.rows + 1, start, tick.label, "label")


def write(cells: Sheet, row: int, column: int, text: str, ink: str) -> None:
    """Write text into a row, clipped at its ends; the caller chooses characters that suit ASCII mode."""
    for offset, char in enumerate(text):
        if 0 <= row < len(cells) and 0 <= column + offset < len(cells[0]):
            put(cells, row, column + offset, char, ink)


def narrow(text: str, plain: bool) -> str:
    """Untrusted text as characters of one cell each; others become "?"."""
    return "".join(char if _is_narrow(char, plain) else "?" for char in safe(text))


def _is_narrow(char: str, plain: bool) -> bool:
    if plain or char.isascii():
        return char.isascii()
    category = unicodedata.category(char)
    return unicodedata.east_asian_width(char) not in "WF" and category[0] != "M" and category[:2] not in ("Zl", "Zp")
