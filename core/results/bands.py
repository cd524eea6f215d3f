"""Bands of several curves: their minimum, mean and maximum at each x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curves import Curve, Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Arrays of one length, in the units of the curves."""

    x: Numbers
    low: Numbers
    mean: Numbers
    high: Numbers

    def __len__(self) -> int:
        return len(self.x)


def band(curves: Sequence[Curve]) -> Band:
    """The band of several curves over the range that all of them cover.

    Where the curves have the same x, their values are taken as they are; elsewhere each is read at the x of the
    others on the straight line between its own points. Values that are not finite are left out first, and a curve
    without any other counts for nothing.
    """
    sound = [curve for curve in map(_finite, curves) if len(curve)]
    if not sound:
        return Band(*(np.empty(0) for _ in range(4)))
    first, last = max(curve.x[0] for curve in sound), min(curve.x[-1] for curve in sound)
    cut = [curve.x[(curve.x >= first) & (curve.x <= last)] for curve in sound]
    same = all(np.array_equal(cut[0], x) for x in cut[1:])
    x = cut[0] if same else np.unique(np.concatenate(cut))
    # np.interp returns the exact value at a curve's own points, so equal x are never changed.
    values = np.stack([np.interp(x, curve.x, curve.y) for curve in sound]) if len(x) else np.empty((1, 0))
    return Band(x, values.min(axis=0), values.mean(axis=0), values.max(axis=0))


def _finite(curve: Curve) -> Curve:
    kept = np.isfinite(curve.x) & np.isfinite(curve.y)
    return Curve(curve.x[kept], curve.y[kept])
