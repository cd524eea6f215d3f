"""What the cursor of a chart reads, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .axes import Floats
from .drawing import Drawing, Line, View, curve_of
from .points import Memo, value_at


def readings(lines: Sequence[Line], x: float, reach: float, view: View, memo: Memo) -> list[float | None]:
    """The value of every line at x, smoothed as it is shown; None where it has none."""
    view = replace(view, log=False)
    return [value_at(curve_of(line, view, memo).shown, x, reach) for line in lines]


def step_cursor(lines: Sequence[Line], drawing: Drawing, x: float, columns: int, memo: Memo, view: View) -> float:
    """The x of the next measured point at least `columns` columns away; sparse lines are preferred within a column."""
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
    """The nearest point past the target, else the outermost one that way."""
    if direction >= 0:
        found = [float(xs[np.searchsorted(xs, target)]) for xs in places if xs[-1] >= target]
        return min(found) if found else max((float(xs[-1]) for xs in places), default=x)
    found = [float(xs[np.searchsorted(xs, target, side="right") - 1]) for xs in places if xs[0] <= target]
    return max(found) if found else min((float(xs[0]) for xs in places), default=x)
