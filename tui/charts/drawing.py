"""Line charts as cells of text: series in, characters with symbolic inks out; the one file that knows plotext."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .axes import Rows, even_rows, limits, log_rows, widened
from .canvas import BLANK, Grid, Sheet, narrow, paint_axes, paint_rule, paint_rule_label, paint_tint, put, write
from .points import Memo, Numbers, Points, Thin, band, clean, continued, folded, logarithms, smoothed, thin

INKS = 8
LABEL_WIDTH = 4  # kept free at the left even for shorter labels, so that the plot does not jump while it grows
MESSAGE = "no data yet"


@dataclass(frozen=True, slots=True)
class Line:
    """One series: xs and ys of one length; values that are not finite or beyond 1e30 are gaps."""

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
    """A horizontal dashed line with a label, such as a reported figure."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class View:
    """How to draw: the size in cells, the scales, and what the terminal can show."""

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
    """The cells of a chart, top row first, and where its plot lies in them."""

    rows: Sheet
    left: int = 0
    columns: int = 0
    plot_rows: int = 0
    x_low: float = 0.0
    x_high: float = 1.0
    clipped: bool = False

    @property
    def column_width(self) -> float:
        """The extent of one column in units of x."""
        return (self.x_high - self.x_low) / max(1, self.columns - 1)

    def column_of(self, x: float) -> int | None:
        """The column of the cells where x lies, if it is in sight."""
        if not self.columns or not self.x_low - self.column_width <= x <= self.x_high + self.column_width:
            return None
        return self.left + min(self.columns - 1, max(0, round((x - self.x_low) / self.column_width)))

    def x_at(self, column: int) -> float:
        """The x at the middle of a column of the cells, kept within the plot."""
        return self.x_low + min(max(0, column - self.left), max(0, self.columns - 1)) * self.column_width


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with its points: as measured, and as shown (smoothed, on the axis of the view)."""

    line: Line
    raw: Points
    shown: Points

    @property
    def ink(self) -> str:
        """The key of its colour."""
        return "dim" if self.line.dim else f"series-{self.line.ink % INKS}"

    @property
    def tint(self) -> str:
        """The key of the colour behind it."""
        return f"tint-{self.line.ink % INKS}"


@dataclass(frozen=True, slots=True)
class Path:
    """A curve thinned to the plot: its trace in dots, and the range of each cell column that stands behind it."""

    curve: Curve
    trace: Thin
    spread: Thin | None


def draw(lines: Sequence[Line], rules: Sequence[Rule], view: View, memo: Memo | None = None) -> Drawing:
    """The chart of these lines in `view.height` rows of `view.width` cells."""
    memo = memo or Memo()
    cells = [[BLANK] * max(0, view.width) for _ in range(max(0, view.height))]
    axis_rows = 2 if view.height >= 5 else 0
    rows = view.height - axis_rows
    if rows < 2 or view.width < 4:
        return Drawing(cells)
    curves = [curve_of(line, view, memo) for line in sorted(lines, key=lambda line: not line.dim)]
    curves = [curve for curve in curves if curve.shown.xs.size]
    if not curves:
        write(cells, view.height // 2, (view.width - len(MESSAGE)) // 2, MESSAGE, "label")
        return Drawing(cells)
    grid, paths = _lay_out(curves, rules, view, rows, memo)
    clipped = _paint(cells, grid, paths, rules, view)
    paint_axes(cells, grid, view.x_unit, plain=view.ascii, framed=axis_rows > 0)
    return Drawing(cells, grid.left, grid.columns, rows, grid.x_low, grid.x_high, clipped)


def curve_of(line: Line, view: View, memo: Memo) -> Curve:
    """The line's points, measured and shown, each step done once for the same arrays."""
    ends = (id(line.xs), id(line.low), id(line.high))
    raw = memo.get(line.ys, ("clean", *ends), lambda: clean(line.xs, line.ys, line.low, line.high))
    decay = view.smoothing if line.smooth else 0.0
    shown = memo.get(raw, ("smoothed", decay), lambda: smoothed(raw, decay))
    if view.log:
        shown = memo.get(shown, ("log",), lambda shown=shown: logarithms(shown))
        raw = memo.get(raw, ("log",), lambda raw=raw: logarithms(raw))
    return Curve(line, raw, shown)


def extent(curves: Sequence[Curve]) -> tuple[float, float]:
    """The range of x that all curves cover together."""
    low = min(float(curve.shown.xs[0]) for curve in curves)
    return widened(low, max(float(curve.shown.xs[-1]) for curve in curves), 0.5)


def _lay_out(
    curves: Sequence[Curve], rules: Sequence[Rule], view: View, rows: int, memo: Memo
) -> tuple[Grid, list[Path]]:
    """The scales, and the paths that fit beside the labels."""
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
    """The curve thinned to dots, and the band or the raw extremes behind it."""
    dots = columns * across

    def thinned(points: Points) -> Thin:
        return memo.get(points, ("thin", low, high, dots), lambda: thin(points, low, high, dots))

    line, trace, spread = curve.line, thinned(curve.shown), None
    if view.tints and not line.dim and curve.raw.low is not None:
        spread = band(curve.raw, low, high, columns)
    elif view.tints and not line.dim and line.spread:
        spread = folded(thinned(curve.raw), across)
    # The extremes of a dot's width are kept, unless they stand behind the line or were smoothed away.
    if (spread is not None and line.spread) or (line.smooth and view.smoothing):
        trace = replace(trace, low=trace.mean, high=trace.mean)
    return Path(curve, continued(trace, curve.shown, low, high, dots), spread)


def _scale(paths: Sequence[Path], rules: Sequence[Rule], view: View, rows: int) -> Rows:
    """The vertical scale for all that is to be seen."""
    ranges = [thinned for path in paths for thinned in (path.trace, path.spread) if thinned is not None]
    values = np.concatenate([values for thinned in ranges for values in (thinned.low, thinned.high)])
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.array([0.0, 1.0])
    low, high = (float(values.min()), float(values.max())) if view.percent and not view.log else limits(values)
    for height in _rule_heights(rules, view):
        if height is not None and (view.percent or max(high, height) - min(low, height) <= 4 * (high - low)):
            low, high = min(low, height), max(high, height)
    if view.log:
        return log_rows(low, high, rows)
    return even_rows(low, high, rows, percent=view.percent)


def _rule_heights(rules: Sequence[Rule], view: View) -> list[float | None]:
    """Where the rules stand on the axis; None where they cannot."""
    heights = [rule.y if abs(rule.y) <= 1e30 else None for rule in rules]
    if not view.log:
        return heights
    return [float(np.log10(y)) if y is not None and y > 0 else None for y in heights]


def _paint(cells: Sheet, grid: Grid, paths: Sequence[Path], rules: Sequence[Rule], view: View) -> bool:
    """Everything inside the plot, from back to front; says whether something lies outside it."""
    for path in paths:
        if path.spread is not None:
            paint_tint(cells, grid, path.spread, path.curve.tint, view.ascii)
    heights = _rule_heights(rules, view)
    for height in heights:
        if height is not None:
            paint_rule(cells, grid, height, view.ascii)
    _paint_traces(cells, grid, paths, view.ascii)
    _paint_marks(cells, grid, paths, view.ascii)
    clipped = [_paint_clipped(cells, grid, path, view.ascii) for path in paths]
    _paint_ends(cells, grid, paths, view)
    for rule, height in zip(rules, heights, strict=True):
        if height is not None:
            paint_rule_label(cells, grid, height, rule.label, view.ascii)
    return any(clipped)


def _paint_traces(cells: Sheet, grid: Grid, paths: Sequence[Path], plain: bool) -> None:
    """The lines, drawn by plotext in the order given: where two share a cell the later one has it."""
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


def _segments(grid: Grid, trace: Thin) -> list[tuple[list[int], list[int]]]:
    """The trace as runs of whole dots, without gaps and without points that change nothing."""
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


INKED = re.compile(r"(?:\x1b\[38;5;(\d+)m)?([^\x1b]*)\x1b\[0m")


def _plot(
    segments: Sequence[tuple[int, list[int], list[int]]], size: tuple[int, int], across: int, up: int, marker: str
) -> list[list[tuple[int, str]]]:
    """Rows of (line index, characters), drawn on a bare canvas whose coordinates are dots."""
    # plotext takes 65 ms to import. It draws on one figure of its own, so only one thread may use it.
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
        [(int(ink) - 16 if ink else 0, chars) for ink, chars in INKED.findall(row)]
        for row in text.split("\n")[: size[1]]
    ]


def _paint_marks(cells: Sheet, grid: Grid, paths: Sequence[Path], plain: bool) -> None:
    """A dot on each measured point of sparse lines."""
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


def _paint_clipped(cells: Sheet, grid: Grid, path: Path, plain: bool) -> bool:
    """Arrows at the edge where a line, or what stands behind it, goes on outside."""
    clipped = False
    for thinned, width in ((path.trace, grid.across), (path.spread, 1)):
        if thinned is None:
            continue
        over = grid.dots(thinned.high) >= grid.rows * grid.up
        under = (grid.dots(thinned.low) < 0) & np.isfinite(thinned.low)
        for outside, row, char in ((over, 0, "^" if plain else "▲"), (under, grid.rows - 1, "v" if plain else "▼")):
            for column in set((thinned.columns[outside] // width).tolist()):
                clipped = True
                if thinned is path.trace or cells[row][grid.left + column].char in " ▀▄":
                    put(cells, row, grid.left + column, char, path.curve.ink)
    return clipped


def _paint_ends(cells: Sheet, grid: Grid, paths: Sequence[Path], view: View) -> None:
    """At the end of each line a cross where it broke and its letter, moved left where they would collide."""
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
    """The place after the end of a line, or else the nearest free one on it."""
    row = rows[end]
    for column in (*((end + 1,) if end + 1 < columns else ()), *range(end, max(-1, end - 40), -1)):
        row = rows.get(column, row)
        if (row, column) not in taken:
            return row, column
    return None


def lettered(lines: Sequence[Line]) -> list[Line]:
    """The lines with a letter each, for terminals without colours: its own, else one from its label, else any."""
    used = {line.letter for line in lines if line.letter}
    result: list[Line] = []
    for line in lines:
        choices = (char for char in (line.label + "abcdefghijklmnopqrstuvwxyz") if char.isascii() and char.isalnum())
        letter = line.letter or next((char for char in choices if char not in used), "?")
        used.add(letter)
        result.append(replace(line, letter=letter))
    return result
