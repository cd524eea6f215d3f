"""Charts of a study that belong together, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from textual.app import ComposeResult
from textual.containers import Horizontal

from ...core.results.chart_data import Figure
from ..charts.drawing import Rule
from ..charts.study_charts import band_edges, chart_line
from ..widgets.chart import Chart

MAX_CHARTS = 3
FRAME = 18
"""Cells of a title that the frame and the state of the axes use."""


class FigureCharts(Horizontal):
    """Up to `MAX_CHARTS` charts."""

    DEFAULT_CSS = """
    FigureCharts { height: 1fr; }
    FigureCharts Chart { width: 1fr; height: 100%; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._charts = [Chart("", id=f"figure-{place}") for place in range(MAX_CHARTS)]
        self._titles: list[tuple[str, bool]] = [("", False)] * MAX_CHARTS
        self._figures: Sequence[Figure] = ()
        self._numbers: Mapping[str, str] = {}

    def compose(self) -> ComposeResult:
        yield from self._charts

    def show(self, figures: Sequence[Figure], numbers: Mapping[str, str]) -> None:
        """Show these figures; `numbers` replace labels in legends without room for them."""
        self._figures, self._numbers = figures, numbers
        self._draw()

    def on_resize(self) -> None:
        """Choose the legends for the new width, which is known only after the first layout."""
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
        # Without colours, a band cannot be a tint: its edges are drawn as lines.
        parts = [end for series in figure.series for end in band_edges(series)] if self.app.no_color else figure.series
        lines = [chart_line(series, figure) for series in parts]
        rules = [Rule(value, label) for value, label in figure.rules]
        chart.show(lines, rules, x_unit=figure.x_unit, note=figure.note)


def _short(figure: Figure, numbers: Mapping[str, str], width: int) -> Figure:
    """The figure with numbers of runs instead of labels, if these do not fit its title."""
    if len(figure.title) + sum(len(series.label) + 5 for series in figure.series) + FRAME <= width:
        return figure
    series = tuple(replace(one, label=numbers.get(one.label, one.label)) for one in figure.series)
    return replace(figure, series=series)
