"""How often the Live page redraws bars and charts; charts are slower, since they cost milliseconds of CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

Speed = Literal["fast", "normal", "slow"]


class RefreshRates(NamedTuple):
    """Seconds between redraws of the bars and of the charts, and the largest share of CPU time for the app."""

    bars: float
    charts: float
    share: float = 0.015


MAX_DELAY_FACTOR = 5
"""Charts are never delayed to more than this many times their interval."""

RATES: dict[Speed, RefreshRates] = {
    "fast": RefreshRates(0.1, 0.4, 0.1),
    "normal": RefreshRates(0.25, 1.0),
    "slow": RefreshRates(1.0, 3.0),
}


class ChartPace:
    """When charts are due: at their interval, or less often while the app uses more than its share of CPU time."""

    def __init__(
        self,
        rates: RefreshRates,
        clock: Callable[[], float] = time.monotonic,
        computed: Callable[[], float] = time.thread_time,
    ) -> None:
        self._rates, self._clock, self._computed = rates, clock, computed
        self._drawn_at = self._computed_at = -float("inf")

    @property
    def due(self) -> bool:
        """Whether to draw the charts with this frame of the bars; to be called in the app's thread."""
        elapsed = self._clock() - self._drawn_at + self._rates.bars / 2
        if elapsed <= self._rates.charts:
            return False
        return (
            elapsed > MAX_DELAY_FACTOR * self._rates.charts
            or self._computed() - self._computed_at <= self._rates.share * elapsed
        )

    def drawn(self) -> None:
        """Note that the charts are drawn now."""
        self._drawn_at, self._computed_at = self._clock(), self._computed()
