"""How often the screen is drawn: bars and charts apart, since a chart costs milliseconds that training could use."""

from __future__ import annotations

from typing import Literal, NamedTuple

Speed = Literal["fast", "normal", "slow"]


class Refresh(NamedTuple):
    """Seconds between two drawings of the bars, and of a chart."""

    bars: float
    charts: float


RATES: dict[Speed, Refresh] = {"fast": Refresh(0.1, 0.4), "normal": Refresh(0.25, 1.0), "slow": Refresh(1.0, 3.0)}
