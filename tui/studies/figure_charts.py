"""The charts of a study's result that are read together, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from textual.app import ComposeResult
from textual.containers import Horizontal

from ...core.results.chart_data import Figure
from ..charts.drawing import Rule
from ..charts.study_charts import chart_line, ends_of
from ..widgets.chart import Chart

MOST = 3
FRAME = 18
"""Cells of a title that the frame and the state of the axes take."""


class FigureCharts(Horizontal):
    """As many charts as a panel has figures."""

    DEFAULT_CSS = """
    FigureCharts { height: 1fr; }
    FigureCharts Chart { width: 1fr; height: 100%; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._charts = [Chart("", id=f"figure-{place}") for place in range(MOST)]
        self._titles: list[tuple[str, bool]] = [("", False)] * MOST
        self._figures: Sequence[Figure] = ()
        self._numbers: Mapping[str, str] = {}

    def compose(self) -> ComposeResult:
        yield from self._charts

    def show(self, figures: Sequence[Figure], numbers: Mapping[str, str]) -> None:
        """Draw these; charts that are not needed go. `numbers` stand for labels where a legend has no room for them."""
        self._figures, self._numbers = figures, numbers
        self._draw()

    def on_resize(self) -> None:
        """Another width has room for other legends; the first is known after the first layout."""
        self._draw()

    def _draw(self) -> None:
        if not self.size.width:
            return
        width = self.size.width // max(1, len(self._figures))
        for place, chart in enumerate(self._charts):
            chart.display = place < len(self._figures)
            if chart.display:
                self._show(place, chart, _short(self._figures[place], self._numbers, width))

    def _show(self, place: int, chart: Chart, figure: Figure) -> None:
        if self._titles[place] != (figure.title, figure.percent):
            self._titles[place] = (figure.title, figure.percent)
            chart.set_title(figure.title, percent=figure.percent)
        # Without colours a band cannot be seen as a tint: its ends are drawn as lines.
        parts = [end for series in figure.series for end in ends_of(series)] if self.app.no_color else figure.series
        lines = [chart_line(series, figure) for series in parts]
        rules = [Rule(value, label) for value, label in figure.rules]
        chart.show(lines, rules, x_unit=figure.x_unit, note=figure.note)


def _short(figure: Figure, numbers: Mapping[str, str], width: int) -> Figure:
    """The figure with the numbers of its runs in place of their labels, where these do not fit its title."""
    if len(figure.title) + sum(len(series.label) + 5 for series in figure.series) + FRAME <= width:
        return figure
    series = tuple(replace(one, label=numbers.get(one.label, one.label)) for one in figure.series)
    return replace(figure, series=series)
