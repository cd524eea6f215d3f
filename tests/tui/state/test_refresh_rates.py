"""How often the live page's charts are drawn: as often as asked, more seldom where drawing is slow."""

from __future__ import annotations

from torchdeck.tui.state.refresh_rates import RATES, ChartPace


class Machine:
    """A clock, and the time that the app's thread computed."""

    def __init__(self) -> None:
        self.now = 100.0
        self.computed = 5.0

    def drawings(self, seconds: float, *, bars: float, charts: float) -> list[float]:
        """When the charts are drawn, from now on, where a frame of the bars and the charts compute so long."""
        rates, begun, drawn = RATES["normal"], self.now, list[float]()
        pace = ChartPace(rates, lambda: self.now, lambda: self.computed)
        while self.now < begun + seconds:
            if pace.due:
                pace.drawn()
                drawn.append(self.now - begun)
                self.computed += charts
            self.computed += bars
            self.now += rates.bars
        return drawn


def test_charts_are_drawn_once_a_second_where_that_is_cheap() -> None:
    assert Machine().drawings(5, bars=0.001, charts=0.01) == [0, 1, 2, 3, 4]


def test_charts_wait_until_the_page_took_its_share_of_the_time() -> None:
    assert Machine().drawings(6, bars=0.0015, charts=0.014) == [0, 1.5, 3, 4.5]


def test_charts_wait_five_times_as_long_at_most_however_slow_the_machine() -> None:
    assert Machine().drawings(16, bars=0.05, charts=0.5) == [0, 5, 10, 15]
