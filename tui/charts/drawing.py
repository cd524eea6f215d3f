"""Draw line charts as character cells: series in, cells with colour keys out; the only file that uses plotext."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..format.values import safe
from .axes import Rows, even_rows, limits, log_rows, widened
from .canvas import BLANK, Cell, Grid, Sheet, narrow, paint_axes, paint_rule, paint_rule_label, paint_tint, put, write
from .points import Binned, Memo, Numbers, Points, band, bin_points, clean, extended, logarithms, merged, smoothed

INKS = 8
LABEL_WIDTH = 4  # reserved even for shorter labels, so that the plot does not shift while values grow
NO_DATA = "no data yet"


@dataclass(frozen=True, slots=True)
class Line:
    """One series: xs and ys of the same length; values that are not finite or beyond 1e30 are gaps."""

    label: str
    xs: Numbers
    ys: Numbers
    ink: int = 0
    spread: bool = False
    smooth: bool = False
    marks: bool = False
    letter: str = ""
    dim: bool = False
    broken: bool = False
    low: Numbers | None = None
    high: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal dashed line with a label, for example a reported accuracy."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class View:
    """How to draw: the size in cells, the scales, and the terminal's capabilities."""

    width: int
    height: int
    percent: bool = False
    log: bool = False
    smoothing: float = 0.0
    x_range: tuple[float, float] | None = None
    x_unit: str = "step"
    ascii: bool = False
    tints: bool = True


@dataclass(frozen=True, slots=True)
class Drawing:
    """The cells of a chart, top row first, and the position of the plot area in them."""

    rows: Sheet
    left: int = 0
    columns: int = 0
    plot_rows: int = 0
    x_low: float = 0.0
    x_high: float = 1.0

    @property
    def column_width(self) -> float:
        """The width of one column in units of x."""
        return (self.x_high - self.x_low) / max(1, self.columns - 1)

    def column_of(self, x: float) -> int | None:
        """The column of x; None if it is out of view."""
        if not self.columns or not self.x_low - self.column_width <= x <= self.x_high + self.column_width:
            return None
        return self.left + min(self.columns - 1, max(0, round((x - self.x_low) / self.column_width)))

    def x_at(self, column: int) -> float:
        """The x at the middle of a column, clipped to the plot."""
        return self.x_low + min(max(0, column - self.left), max(0, self.columns - 1)) * self.column_width


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with its points: as measured, and as shown (smoothed, on the axis of the view)."""

    line: Line
    raw: Points
    shown: Points

    @property
    def ink(self) -> str:
        """The colour key of the line."""
        return "dim" if self.line.dim else f"series-{self.line.ink % INKS}"

    @property
    def tint(self) -> str:
        """The colour key of the background behind it."""
        return f"tint-{self.line.ink % INKS}"


@dataclass(frozen=True, slots=True)
class Path:
    """A curve reduced to the plot: its trace per column of dots, and the range per cell column to tint behind it."""

    curve: Curve
    trace: Binned
    spread: Binned | None


def draw(lines: Sequence[Line], rules: Sequence[Rule], view: View, memo: Memo | None = None) -> Drawing:
    """Draw the lines and rules in `view.height` rows of `view.width` cells."""
    memo = memo or Memo()
    cells = [[BLANK] * max(0, view.width) for _ in range(max(0, view.height))]
    axis_rows = 2 if view.height >= 5 else 0
    rows = view.height - axis_rows
    if rows < 2 or view.width < 4:
        return Drawing(cells)
    curves = [curve_of(line, view, memo) for line in sorted(lines, key=lambda line: not line.dim)]
    curves = [curve for curve in curves if curve.shown.xs.size]
    if not curves:
        write(cells, view.height // 2, (view.width - len(NO_DATA)) // 2, NO_DATA, "label")
        return Drawing(cells)
    grid, paths = _lay_out(curves, rules, view, rows, memo)
    _paint(cells, grid, paths, rules, view)
    paint_axes(cells, grid, view.x_unit, plain=view.ascii, framed=axis_rows > 0)
    return Drawing(cells, grid.left, grid.columns, rows, grid.x_low, grid.x_high)


def curve_of(line: Line, view: View, memo: Memo) -> Curve:
    """The line's points, raw and as shown; each step is cached by its arrays."""
    ends = (id(line.xs), id(line.low), id(line.high))
    raw = memo.get(line.ys, ("clean", *ends), lambda: clean(line.xs, line.ys, line.low, line.high))
    decay = view.smoothing if line.smooth else 0.0
    shown = memo.get(raw, ("smoothed", decay), lambda: smoothed(raw, decay))
    if view.log:
        shown = memo.get(shown, ("log",), lambda shown=shown: logarithms(shown))
        raw = memo.get(raw, ("log",), lambda raw=raw: logarithms(raw))
    return Curve(line, raw, shown)


def extent(curves: Sequence[Curve]) -> tuple[float, float]:
    """The range of x that all curves cover together; from zero where that is a single point."""
    low = min(float(curve.shown.xs[0]) for curve in curves)
    high = max(float(curve.shown.xs[-1]) for curve in curves)
    return widened(0.0 if low == high > 0 else low, high, 0.5)


def _lay_out(
    curves: Sequence[Curve], rules: Sequence[Rule], view: View, rows: int, memo: Memo
) -> tuple[Grid, list[Path]]:
    """Choose the scales, and reduce the curves to the columns beside the labels."""
    x_low, x_high = widened(*view.x_range) if view.x_range else extent(curves)
    across, up = (1, 1) if view.ascii else (2, 4)
    label_width = LABEL_WIDTH if view.width >= 16 else -1
    while True:
        columns = view.width - label_width - 1
        paths = [_path(curve, x_low, x_high, columns, across, view, memo) for curve in curves]
        scale = _scale(paths, rules, view, rows)
        needed = max((len(tick.label) for tick in scale.ticks), default=0)
        if label_width < 0 or needed <= label_width:
            return Grid(label_width + 1, columns, rows, x_low, x_high, scale, across, up), paths
        label_width = needed if view.width - needed >= 11 else -1


def _path(curve: Curve, low: float, high: float, columns: int, across: int, view: View, memo: Memo) -> Path:
    """The curve reduced to columns of dots, and the band, or the range of raw values, behind it."""
    dots = columns * across

    def binned(points: Points) -> Binned:
        return memo.get(points, ("bin_points", low, high, dots), lambda: bin_points(points, low, high, dots))

    line, trace, spread = curve.line, binned(curve.shown), None
    if view.tints and not line.dim and curve.raw.low is not None:
        spread = band(curve.raw, low, high, columns)
    elif view.tints and not line.dim and line.spread:
        spread = merged(binned(curve.raw), across)
    # A trace shows the extremes within a dot's width, unless they are tinted behind the line or smoothed away.
    if (spread is not None and line.spread) or (line.smooth and view.smoothing):
        trace = replace(trace, low=trace.mean, high=trace.mean)
    return Path(curve, extended(trace, curve.shown, low, high, dots), spread)


def _scale(paths: Sequence[Path], rules: Sequence[Rule], view: View, rows: int) -> Rows:
    """The vertical scale for all paths, and for rules that are not far away."""
    ranges = [binned for path in paths for binned in (path.trace, path.spread) if binned is not None]
    values = np.concatenate([values for binned in ranges for values in (binned.low, binned.high)])
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.array([0.0, 1.0])
    low, high = (float(values.min()), float(values.max())) if view.percent and not view.log else limits(values)
    for height in _rule_heights(rules, view):
        if height is not None and max(high, height) - min(low, height) <= (1.5 if view.percent else 4) * (high - low):
            low, high = min(low, height), max(high, height)
    if view.log:
        return log_rows(low, high, rows)
    return even_rows(low, high, rows, percent=view.percent)


def _rule_heights(rules: Sequence[Rule], view: View) -> list[float | None]:
    """The rules' positions on the axis; None for those that it cannot show."""
    heights = [rule.y if abs(rule.y) <= 1e30 else None for rule in rules]
    if not view.log:
        return heights
    return [float(np.log10(y)) if y is not None and y > 0 else None for y in heights]


def _paint(cells: Sheet, grid: Grid, paths: Sequence[Path], rules: Sequence[Rule], view: View) -> None:
    """Draw everything inside the plot, from back to front; returns whether something lies outside it."""
    for path in paths:
        if path.spread is not None:
            paint_tint(cells, grid, path.spread, path.curve.tint, view.ascii)
    heights = _rule_heights(rules, view)
    for height in heights:
        if height is not None:
            paint_rule(cells, grid, height, view.ascii)
    _paint_traces(cells, grid, paths, view.ascii)
    _paint_marks(cells, grid, paths, view.ascii)
    for path in paths:
        _paint_clipped(cells, grid, path, view.ascii)
    _paint_ends(cells, grid, paths, view)
    for rule, height in zip(rules, heights, strict=True):
        if height is not None:
            paint_rule_label(cells, grid, height, rule.label, view.ascii)


def _paint_traces(cells: Sheet, grid: Grid, paths: Sequence[Path], plain: bool) -> None:
    """Draw the lines by plotext, in order: a cell shared by two lines shows the later one."""
    segments = [(index, xs, ys) for index, path in enumerate(paths) for xs, ys in _segments(grid, path.trace)]
    if not segments:
        return
    size = (grid.columns, grid.rows)
    for row, text in enumerate(_plot(segments, size, grid.across, grid.up, "*" if plain else "braille")):
        column = grid.left
        for index, chars in text:
            for char in chars:
                if char not in " ⠀":
                    put(cells, row, column, char, paths[index].curve.ink)
                column += 1


def _segments(grid: Grid, trace: Binned) -> list[tuple[list[int], list[int]]]:
    """The trace as polylines in whole dots, split at gaps, without redundant points."""
    bottom, top = (np.clip(grid.dots(values), 0, grid.rows * grid.up - 1) for values in (trace.low, trace.high))
    runs: list[tuple[list[int], list[int]]] = []
    rows = zip(
        trace.columns.tolist(),
        bottom.astype(int).tolist(),
        top.astype(int).tolist(),
        trace.joined.tolist(),
        strict=True,
    )
    for column, low, high, joined in rows:
        if not joined or not runs:
            runs.append(([], []))
        xs, ys = runs[-1]
        if len(ys) > 1 and low == high == ys[-1] == ys[-2]:
            xs[-1] = column
            continue
        nearest_first = (high, low) if ys and abs(ys[-1] - high) < abs(ys[-1] - low) else (low, high)
        for y in nearest_first if low < high else (low,):
            xs.append(column)
            ys.append(y)
    return runs


COLORED_RUN = re.compile(r"(?:\x1b\[38;5;(\d+)m)?([^\x1b]*)\x1b\[0m")


def _plot(
    segments: Sequence[tuple[int, list[int], list[int]]], size: tuple[int, int], across: int, up: int, marker: str
) -> list[list[tuple[int, str]]]:
    """Rows of (line index, characters), drawn on an empty plotext canvas whose coordinates are dots."""
    # plotext takes 65 ms to import. It has one global figure, so only one thread may use it.
    import plotext

    plotext.clear_data()
    plotext.limit_size(False, False)
    plotext.plot_size(*size)
    plotext.theme("clear")
    plotext.xlim(0, size[0] * across - 1)
    plotext.ylim(0, size[1] * up - 1)
    plotext.xaxes(False, False)
    plotext.yaxes(False, False)
    plotext.xticks([], [])
    plotext.yticks([], [])
    for index, xs, ys in segments:
        plotext.plot(xs, ys, marker=marker, color=16 + index)
    text = str(plotext.build())
    return [
        [(int(ink) - 16 if ink else 0, chars) for ink, chars in COLORED_RUN.findall(row)]
        for row in text.split("\n")[: size[1]]
    ]


def _paint_marks(cells: Sheet, grid: Grid, paths: Sequence[Path], plain: bool) -> None:
    """Mark each measured point of sparse lines by a dot."""
    for path in paths:
        points = path.curve.shown
        if not path.curve.line.marks:
            continue
        seen = (points.xs >= grid.x_low) & (points.xs <= grid.x_high)
        fraction = (points.xs[seen] - grid.x_low) / (grid.x_high - grid.x_low)
        columns = np.floor(fraction * (grid.columns * grid.across - 1) + 0.5).astype(int) // grid.across
        if columns.size > 1 and float(np.median(np.diff(columns))) < 2:
            continue
        rows = np.floor(grid.dots(points.ys[seen]) / grid.up)
        for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
            if 0 <= row < grid.rows:
                put(cells, grid.rows - 1 - int(row), grid.left + column, "o" if plain else "●", path.curve.ink)


def _paint_clipped(cells: Sheet, grid: Grid, path: Path, plain: bool) -> None:
    """Draw arrows at the edge where a line, or its band, continues outside the plot."""
    for binned, width in ((path.trace, grid.across), (path.spread, 1)):
        if binned is None:
            continue
        over = grid.dots(binned.high) >= grid.rows * grid.up
        under = (grid.dots(binned.low) < 0) & np.isfinite(binned.low)
        for outside, row, char in ((over, 0, "^" if plain else "▲"), (under, grid.rows - 1, "v" if plain else "▼")):
            for column in set((binned.columns[outside] // width).tolist()):
                if binned is path.trace or cells[row][grid.left + column].char in " ▀▄":
                    put(cells, row, grid.left + column, char, path.curve.ink)


def _paint_ends(cells: Sheet, grid: Grid, paths: Sequence[Path], view: View) -> None:
    """Draw each line's letter at its end, and a cross if its run failed; moved left to avoid collisions."""
    taken: set[tuple[int, int]] = set()
    for path in paths:
        line, trace = path.curve.line, path.trace
        if not trace.columns.size:
            continue
        ended = float(path.curve.shown.xs[-1]) <= grid.x_high + (grid.x_high - grid.x_low) / grid.columns
        cross = ("x" if view.ascii else "✗") if line.broken and ended else ""
        columns = (trace.columns // grid.across).tolist()
        dots = np.clip(grid.dots(trace.mean), 0, grid.rows * grid.up - 1).astype(int) // grid.up
        rows = dict(zip(columns, (grid.rows - 1 - dots).tolist(), strict=True))
        for char in (cross, narrow(line.letter[:1], view.ascii)):
            spot = _free_spot(rows, columns[-1], grid.columns, taken) if char else None
            if spot is not None:
                taken.add(spot)
                put(cells, spot[0], grid.left + spot[1], char, path.curve.ink)


def _free_spot(rows: dict[int, int], end: int, columns: int, taken: set[tuple[int, int]]) -> tuple[int, int] | None:
    """The cell after the end of a line, else the nearest free one on the line."""
    row = rows[end]
    for column in (*((end + 1,) if end + 1 < columns else ()), *range(end, max(-1, end - 40), -1)):
        row = rows.get(column, row)
        if (row, column) not in taken:
            return row, column
    return None


def lettered(lines: Sequence[Line]) -> list[Line]:
    """Give each line a letter, for terminals without colours: its own, one from its label, or any free one."""
    used = {line.letter for line in lines if line.letter}
    result: list[Line] = []
    for line in lines:
        choices = (char for char in (line.label + "abcdefghijklmnopqrstuvwxyz") if char.isascii() and char.isalnum())
        letter = line.letter or next((char for char in choices if char not in used), "?")
        used.add(letter)
        result.append(replace(line, letter=letter))
    return result


def message(text: str, width: int, height: int) -> Drawing:
    """A centred message in an empty drawing."""
    shown = safe(text)[: max(0, width)]
    rows = [[BLANK] * width for _ in range(height)]
    if rows:
        rows[height // 2] = [Cell(char, "label") for char in shown.center(width)]
    return Drawing(rows)
