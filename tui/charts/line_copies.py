"""Copies of a chart's lines, so that the caller may keep appending to its own arrays."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from .drawing import Line
from .points import Numbers

ARRAYS = ("xs", "ys", "low", "high")
OTHERS = tuple(field.name for field in fields(Line) if field.name not in ARRAYS)


def copy_line(line: Line, before: Line | None) -> Line:
    """A copy of the line that reuses the earlier copy's arrays if they are equal, so that cached steps stay valid."""
    arrays = {name: _copy(getattr(line, name), getattr(before, name, None)) for name in ARRAYS}
    same = before is not None and all(arrays[name] is getattr(before, name) for name in ARRAYS)
    if before is not None and same and all(getattr(line, name) == getattr(before, name) for name in OTHERS):
        return before
    return replace(line, **arrays)


def _copy(values: Numbers | None, before: Any) -> Any:
    """A copy of the array, or the earlier copy if it is equal bit by bit."""
    if values is None:
        return None
    copied = np.array(values, dtype=np.float64)
    if (
        before is None
        or before.shape != copied.shape
        or not np.array_equal(before.view(np.int64), copied.view(np.int64))
    ):
        return copied
    return before
