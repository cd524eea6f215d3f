"""The cursor of a chart: the values at it, and the points that it steps through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .axes import Floats
from .drawing import Drawing, Line, View, curve_of
from .points import Memo, value_at


def values_at(lines: Sequence[Line], x: float, reach: float, view: View, memo: Memo) -> list[float | None]:
    """The value of every line at x, smoothed as shown; None for a line without a value there."""
    view = replace(view, log=False)
    return [value_at(curve_of(line, view, memo).shown, x, reach) for line in lines]


def step_cursor(lines: Sequence[Line], drawing: Drawing, x: float, columns: int, memo: Memo, view: View) -> float:
    """The x of the next point at least `columns` columns away; within a column, sparse lines are preferred."""
    width = drawing.column_width
    column = drawing.column_of(x)
    target = (x if column is None else drawing.x_at(column)) + columns * width
    places = [curve_of(line, replace(view, log=False), memo).shown.xs for line in lines]
    places = sorted((xs for xs in places if xs.size), key=lambda xs: xs.size)
    for xs in places:
        near = xs[np.searchsorted(xs, target - width / 2) : np.searchsorted(xs, target + width / 2)]
        if near.size:
            return float(near[0] if columns > 0 else near[-1])
    return _beyond(places, target, columns, x)


def _beyond(places: Sequence[Floats], target: float, direction: int, x: float) -> float:
    """The nearest point past the target, else the outermost one in that direction."""
    if direction >= 0:
        found = [float(xs[np.searchsorted(xs, target)]) for xs in places if xs[-1] >= target]
        return min(found) if found else max((float(xs[-1]) for xs in places), default=x)
    found = [float(xs[np.searchsorted(xs, target, side="right") - 1]) for xs in places if xs[0] <= target]
    return max(found) if found else min((float(xs[0]) for xs in places), default=x)
