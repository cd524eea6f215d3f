"""The charts of a study's result as a terminal shows them."""

import numpy as np
from app_driver import screen_text, until
from chart_theme import VARIABLES
from textual.app import App, ComposeResult

from torchdeck.core.results.chart_data import Figure, Series
from torchdeck.tui.studies.figure_charts import FigureCharts

LABELS = ("optimizer.lr=0.1", "optimizer.lr=0.3")


class ChartsApp(App[None]):
    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLES

    def compose(self) -> ComposeResult:
        yield FigureCharts()


async def test_a_legend_has_the_room_of_the_width_that_the_charts_end_up_with() -> None:
    x = np.arange(5.0)
    figure = Figure("loss", "Loss", tuple(Series(label, x, x, ink) for ink, label in enumerate(LABELS)))
    app = ChartsApp()
    async with app.run_test(size=(80, 20)) as pilot:
        charts = app.query_one(FigureCharts)
        charts.show([figure], {LABELS[0]: "#1", LABELS[1]: "#2"})
        await until(pilot, lambda: LABELS[1] in screen_text(app))
        await pilot.resize_terminal(50, 20)
        await until(pilot, lambda: "Loss  ━ #1  ━ #2" in screen_text(app))
        await pilot.resize_terminal(80, 20)
        await until(pilot, lambda: LABELS[1] in screen_text(app))
