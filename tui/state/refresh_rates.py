"""How often the screen is drawn: bars and charts apart, since a chart costs milliseconds that training could use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

Speed = Literal["fast", "normal", "slow"]


class Refresh(NamedTuple):
    """Seconds between two drawings of the bars, and of a chart, and the share of the time above which charts wait."""

    bars: float
    charts: float
    share: float = 0.015


LONGEST = 5
"""So many times as long as asked charts wait at most."""

RATES: dict[Speed, Refresh] = {"fast": Refresh(0.1, 0.4, 0.1), "normal": Refresh(0.25, 1.0), "slow": Refresh(1.0, 3.0)}


class Pace:
    """When charts are due: as often as asked, and more seldom where all that the app draws takes too long for that."""

    def __init__(
        self,
        rates: Refresh,
        clock: Callable[[], float] = time.monotonic,
        computed: Callable[[], float] = time.thread_time,
    ) -> None:
        self._rates, self._clock, self._computed = rates, clock, computed
        self._drawn_at = self._computed_at = -float("inf")

    @property
    def due(self) -> bool:
        """Whether this is the frame of the bars that is nearest to the charts' time; asked on the app's thread."""
        elapsed = self._clock() - self._drawn_at + self._rates.bars / 2
        if elapsed <= self._rates.charts:
            return False
        return (
            elapsed > LONGEST * self._rates.charts
            or self._computed() - self._computed_at <= self._rates.share * elapsed
        )

    def drawn(self) -> None:
        """The charts are drawn now."""
        self._drawn_at, self._computed_at = self._clock(), self._computed()
