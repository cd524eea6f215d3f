"""The points of a series: cleaned, smoothed, and downsampled to the columns of a chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Numbers = Sequence[float] | NDArray[Any]
Result = TypeVar("Result")

MAX_MAGNITUDE = 1e30  # larger values are gaps: no metric means them, and arithmetic on them overflows
NEGLIGIBLE_WEIGHT = 1e-12  # a weight of the moving average below which no cell changes


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Finite points sorted by x; `breaks` are the indices after a gap; `low` and `high` bound a band."""

    xs: Floats
    ys: Floats
    breaks: Integers
    low: Floats | None = None
    high: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """Points sorted into columns: the range, mean and number of points of each non-empty column, and gaps before it."""

    columns: Integers
    low: Floats
    high: Floats
    mean: Floats
    counts: Integers
    joined: NDArray[np.bool_]


class Memo:
    """A cache of costly steps, keyed by the arrays that they came from, for as long as these are drawn."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], tuple[object, Any]] = {}
        self._used: dict[tuple[Any, ...], tuple[object, Any]] = {}

    def get(self, source: object, tag: tuple[Any, ...], make: Callable[[], Result]) -> Result:
        """The cached result of `make` for this object and tag; the object is kept alive, so its id stays unique."""
        key = (id(source), *tag)
        entry = self._used.get(key) or self._kept.get(key) or (source, make())
        self._used[key] = entry
        return entry[1]

    def sweep(self) -> None:
        """Drop results that were not used since the last sweep."""
        self._kept, self._used = self._used, {}


def clean(xs: Numbers, ys: Numbers, low: Numbers | None = None, high: Numbers | None = None) -> Points:
    """Sorted points; values that are not finite or too large become gaps."""
    columns = [np.asarray(values, dtype=np.float64).ravel() for values in (xs, ys, low, high) if values is not None]
    length = min(column.size for column in columns)
    columns = [column[:length] for column in columns]
    placed = _sane(columns[0])
    if not placed.all():
        columns = [column[placed] for column in columns]
    if (columns[0][1:] < columns[0][:-1]).any():
        order = np.argsort(columns[0], kind="stable")
        columns = [column[order] for column in columns]
    kept = np.flatnonzero(_sane(columns[1]))
    breaks = np.flatnonzero(np.diff(kept) > 1) + 1
    if kept.size < columns[0].size:
        columns = [column[kept] for column in columns]
    if low is None or high is None:
        return Points(columns[0], columns[1], breaks)
    bounds = [np.where(_sane(bound), bound, np.nan) for bound in columns[2:]]
    return Points(columns[0], columns[1], breaks, bounds[0], bounds[1])


def _sane(values: Floats) -> NDArray[np.bool_]:
    """Which values can be drawn (comparisons with NaN are false)."""
    return np.abs(values) <= MAX_MAGNITUDE


def smoothed(points: Points, decay: float) -> Points:
    """The debiased exponential moving average, whose start is not biased towards zero."""
    if not decay or not points.ys.size:
        return points
    total = points.ys * (1 - decay)
    older = np.empty_like(total)
    span = 1
    # By doubling: if each sum covers `span` points, adding two of them covers twice as many.
    while span < total.size and decay**span > NEGLIGIBLE_WEIGHT:
        np.multiply(total[:-span], decay**span, out=older[span:])
        total[span:] += older[span:]
        span *= 2
    total[:span] /= 1 - decay ** np.arange(1, min(span, total.size) + 1, dtype=np.float64)
    return replace(points, ys=total)


def logarithms(points: Points) -> Points:
    """Base-10 logarithms; zeros and negative values become gaps, those of a band's lower edge minus infinity."""
    positive = points.ys > 0
    kept = np.flatnonzero(positive)
    passed = np.cumsum(~positive)[kept]
    breaks = np.flatnonzero(np.diff(passed) > 0) + 1
    broken = np.searchsorted(kept, points.breaks)
    breaks = np.union1d(breaks, broken[(broken > 0) & (broken < kept.size)]).astype(np.int64)
    low, high = (None if bound is None else _logarithm(bound[kept]) for bound in (points.low, points.high))
    return Points(points.xs[kept], np.log10(points.ys[kept]), breaks, low, high)


def _logarithm(values: Floats) -> Floats:
    """Base-10 logarithms; minus infinity for values without one, NaN stays NaN."""
    result = np.where(np.isnan(values), np.nan, -np.inf)
    np.log10(values, out=result, where=values > 0)
    return result


def bin_points(points: Points, low: float, high: float, columns: int) -> Binned:
    """Sort the points between `low` and `high` into columns whose centres span that range, keeping the extremes."""
    filled, first, counts, end = _groups(points.xs, low, high, columns)
    if not filled.size:
        empty = np.empty(0)
        return Binned(filled, empty, empty, empty, counts, np.empty(0, dtype=np.bool_))
    ys = points.ys[:end]
    mean = np.add.reduceat(ys, first) / counts
    before = np.searchsorted(points.breaks, (first + counts - 1)[:-1], side="right")
    after = np.searchsorted(points.breaks, first[1:], side="right")
    joined = np.concatenate([[False], before == after])
    return Binned(filled, np.minimum.reduceat(ys, first), np.maximum.reduceat(ys, first), mean, counts, joined)


def _groups(xs: Floats, low: float, high: float, columns: int) -> tuple[Integers, Integers, Integers, int]:
    """The non-empty columns, the first point and the number of points of each, and the end of the last."""
    starts = np.searchsorted(xs, low + (np.arange(columns + 1) - 0.5) * ((high - low) / (columns - 1)))
    counts = np.diff(starts)
    filled = np.flatnonzero(counts)
    return filled, starts[filled], counts[filled], int(starts[-1])


def band(points: Points, low: float, high: float, columns: int) -> Binned:
    """A band's range for every column that it spans, interpolated between sparse points."""
    assert points.low is not None
    assert points.high is not None
    centres = np.linspace(low, high, columns)
    half = (high - low) / (columns - 1) / 2
    spanned = (centres >= points.xs[0] - half) & (centres <= points.xs[-1] + half)
    bottom, top = (_between(centres, points.xs, bound) for bound in (points.low, points.high))
    filled, first, _, end = _groups(points.xs, low, high, columns)
    if filled.size:
        bottom[filled] = np.fmin.reduceat(points.low[:end], first)
        top[filled] = np.fmax.reduceat(points.high[:end], first)
    shown = np.flatnonzero(spanned & (bottom <= top) & (top > -np.inf))
    return Binned(shown, bottom[shown], top[shown], top[shown], np.full(shown.size, 2), shown >= 0)


def _between(places: Floats, xs: Floats, bound: Floats) -> Floats:
    """A bound interpolated at these places; minus infinity next to minus infinity."""
    endless = np.isneginf(bound)
    straight = np.interp(places, xs, np.where(endless, 0, bound))
    return np.where(np.interp(places, xs, endless) > 0, -np.inf, straight)


def extended(binned: Binned, points: Points, low: float, high: float, columns: int) -> Binned:
    """Extend the line to both edges of the plot if it continues outside."""
    for x, column in ((low, 0), (high, columns - 1)):
        at = binned.columns.size if column else 0
        after = int(np.searchsorted(points.xs, x))
        inside = 0 < after < points.xs.size and after not in points.breaks
        if not inside or column in binned.columns:
            continue
        y = np.interp(x, points.xs[after - 1 : after + 1], points.ys[after - 1 : after + 1])
        joined = np.insert(binned.joined, at, at > 0)
        if not at and joined.size > 1:
            joined[1] = True
        low_y, high_y, mean = (np.insert(values, at, y) for values in (binned.low, binned.high, binned.mean))
        columns_in, counts = np.insert(binned.columns, at, column), np.insert(binned.counts, at, 0)
        binned = Binned(columns_in, low_y, high_y, mean, counts, joined)
    return binned


def merged(binned: Binned, width: int) -> Binned:
    """Merge columns by `width`; means are weighted by the number of points."""
    cells = binned.columns // width
    first = np.flatnonzero(np.diff(cells, prepend=-1))
    if not first.size:
        return binned
    counts = np.add.reduceat(binned.counts, first)
    mean = np.add.reduceat(binned.mean * binned.counts, first) / np.maximum(1, counts)
    low, high = np.minimum.reduceat(binned.low, first), np.maximum.reduceat(binned.high, first)
    return Binned(cells[first], low, high, mean, counts, binned.joined[first])


def value_at(points: Points, x: float, reach: float) -> float | None:
    """The value nearest to x within `reach`, else the last one before it, unless the series has ended."""
    after = int(np.searchsorted(points.xs, x, side="right"))
    near = [index for index in (after - 1, after) if 0 <= index < points.xs.size]
    if not near:
        return None
    nearest = min(near, key=lambda index: abs(float(points.xs[index]) - x))
    if abs(float(points.xs[nearest]) - x) <= reach:
        return float(points.ys[nearest])
    return float(points.ys[after - 1]) if 0 < after < points.xs.size else None
