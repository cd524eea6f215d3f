from collections.abc import Sequence

import numpy as np
import pytest
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.widget import Widget

from tui.widgets.class_table import ClassTable
from tui.widgets.heat_map import HeatMap, plan_for
from tui.widgets.image_grid import ImageGrid

ANIMALS = ("cat", "deer", "dog")
CONFUSION = [[86, 4, 10], [0, 0, 0], [76, 24, 900]]


class Stage(App[None]):
    """A screen with one widget on it, and the places its cursor came to."""

    CSS = "Stage > Screen > * { border: none; padding: 0; width: 1fr; height: 1fr; }"

    def __init__(self, widget: Widget, theme: str = "textual-dark", ascii_only: bool = False) -> None:
        super().__init__()
        self.widget = widget
        self.theme = theme
        self.set_class(ascii_only, "-ascii")
        self.moves: list[tuple[int, int]] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {
            "heat-hit": "#2a6fb0",
            "heat-miss": "#d87a20",
            "chart-label": "#7d8792",
            "chart-axis": "#59636e",
        }

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_heat_map_moved(self, event: HeatMap.Moved) -> None:
        self.moves.append((event.true_index, event.predicted_index))


def drawn(widget: Widget) -> list[str]:
    return [widget.render_line(y).text.rstrip() for y in range(widget.size.height)]


def whole_screen(app: App[None]) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def style_at(widget: Widget, x: int, y: int):
    return next(iter(widget.render_line(y).crop(x, x + 1))).style


def matrix(classes: int) -> list[list[int]]:
    generator = np.random.default_rng(classes)
    return (generator.integers(0, 4, (classes, classes)) + 50 * np.eye(classes, dtype=int)).tolist()


def names(classes: int) -> list[str]:
    return [f"class {index}" for index in range(classes)]


# The heat map


async def test_a_matrix_in_little_space_is_numbers_with_labels() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(20, 5)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.pause()
        assert drawn(heat_map) == [
            "      cat deer dog",
            " cat   86   4  10",
            "deer   ·    ·   ·",
            " dog  [8]   2  90",
            "",
        ]


async def test_a_matrix_in_more_space_has_larger_cells() -> None:
    heat_map = HeatMap()
    async with Stage(heat_map).run_test(size=(32, 10)) as pilot:
        heat_map.show(CONFUSION, ANIMALS)
        await pilot.pause()
        assert drawn(heat_map) == [
            "        cat     deer     dog",
            "",
            " cat    86        4      10",
            "",
            "",
            "deer     ·        ·       ·",
            "",
            "     ┌       ┐",
            " dog    [8]       2      90",
            "     └       ┘",
        ]
