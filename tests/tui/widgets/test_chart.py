from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from chart_theme import VARIABLES
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from torchdeck.tui.charts.drawing import Line
from torchdeck.tui.widgets.chart import Chart


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class ChartApp(App[None]):
    def __init__(self, percent: bool = False) -> None:
        super().__init__()
        self.clock = Clock()
        self.chart = Chart("Loss", percent=percent, clock=self.clock)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLES

    def compose(self) -> ComposeResult:
        yield self.chart


def line(values: Any = range(101), **options: Any) -> Line:
    return Line("train", range(len(values)), values, **options)


def picture(app: App[None]) -> list[str]:
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def cursor_column(app: ChartApp) -> int | None:
    return None if app.chart.cursor is None else app.chart.drawing.column_of(app.chart.cursor)


@contextmanager
def no_color(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        yield


async def shown(app: ChartApp, pilot: Pilot[None], *lines: Line, **options: Any) -> None:
    app.chart.show(lines, **options)
    await pilot.pause()


async def test_the_title_is_a_legend_and_the_subtitle_a_note() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line(), Line("test", [5, 90], [10, 80], 1, marks=True), note="train 1.2 · test 1.3")
        rows = picture(app)
        assert "Loss  ━ train  ━ test" in rows[0]
        assert "train 1.2 · test 1.3" in rows[-1]
        assert sum(row.count("●") for row in rows) == 2
        assert all(len(row) == 60 for row in rows)


async def test_what_is_shown_before_the_chart_is_on_a_screen_is_drawn_there() -> None:
    app = ChartApp()
    app.chart.show([line([0.1, 0.9])], note="a note")
    app.chart.set_title("Accuracy", percent=True)
    async with app.run_test(size=(60, 16)):
        rows = picture(app)
        assert "Accuracy  ━ train" in rows[0]
        assert "a note" in rows[-1]
        assert any("50%┤" in row for row in rows)


async def test_hostile_names_are_shown_as_they_are_and_steer_nothing() -> None:
    async with (app := ChartApp()).run_test(size=(100, 16)) as pilot:
        app.chart.set_title("[bold]Loss[/bold]")
        hostile = Line("[red]\x1b[31mx\x07", [0, 1], [0, 1], letter="\x1b")
        await shown(app, pilot, hostile, note="[link=x]\x1b]0;t\x07", x_unit="\x9bst[b]ep")
        rows = picture(app)
        assert "[bold]Loss[/bold]  ━ [red][31mx" in rows[0]
        assert "[link=x]]0;t" in rows[-1]
        assert all(character.isprintable() for row in rows for character in row)


async def test_arrows_move_the_cursor_and_escape_removes_it() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line(), note="a note")
        await pilot.press("left")
        assert app.chart.cursor == 100
        assert "step 100 · train 100.0000" in picture(app)[-1]
        last = cursor_column(app)
        await pilot.press("left")
        assert cursor_column(app) == last - 1
        await pilot.press("shift+left")
        assert cursor_column(app) == last - 11
        await pilot.press("right", "shift+right", "right")
        assert app.chart.cursor == 100
        await pilot.press("escape")
        assert app.chart.cursor is None
        assert "a note" in picture(app)[-1]


async def test_a_click_sets_the_cursor_where_it_points() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line())
        await pilot.click(app.chart, offset=(30, 5))
        assert cursor_column(app) == 29
        assert picture(app)[1][30] == "│"


async def test_the_readout_of_an_accuracy_is_in_percent() -> None:
    async with (app := ChartApp(percent=True)).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line([0.5, 0.6, 0.7007]), x_unit="epoch")
        await pilot.press("left")
        assert "epoch 2 · train 70.07 %" in picture(app)[-1]


async def test_keys_switch_the_axis_the_smoothing_and_the_size() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line(range(1, 1001), smooth=True))
        await pilot.press("y")
        assert "log, smooth 0.6" in picture(app)[0]
        factors = []
        for _ in range(4):
            await pilot.press("s")
            factors.append(app.chart.smoothing)
        assert factors == [0.9, 0.98, 0.0, 0.6]
        await pilot.press("z")
        assert app.chart.is_maximized
        await pilot.press("z")
        assert not app.chart.is_maximized


async def test_keys_magnify_x_at_the_right_end_or_around_the_cursor() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line())
        await pilot.press("+", "+")
        await pilot.pause()
        assert (app.chart.drawing.x_low, app.chart.drawing.x_high) == (75, 100)
        await pilot.press("0")
        await pilot.pause()
        assert (app.chart.drawing.x_low, app.chart.drawing.x_high) == (0, 100)
        await pilot.click(app.chart, offset=(33, 5))
        await pilot.press("+")
        await pilot.pause()
        assert app.chart.drawing.x_low == pytest.approx(app.chart.cursor - 25)
        await pilot.press("-")
        await pilot.pause()
        assert app.chart.drawing.x_high == 100


async def test_every_key_is_described_and_can_be_remapped() -> None:
    bindings = list(Chart._merged_bindings.key_to_bindings.items()) if Chart._merged_bindings else []
    assert bindings
    assert all(binding.description and binding.id for _, found in bindings for binding in found)
    assert {key for key, found in bindings if found[0].show} == {"left", "y", "s", "z"}


async def test_redraws_are_throttled_and_the_last_data_is_drawn() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line())
        drawn = app.chart.draws
        app.chart.redraw_every = 0.01
        for end in (110, 120, 130):
            app.chart.show([line(range(end + 1))])
        assert app.chart.waiting
        while app.chart.waiting:
            await pilot.pause()
        await pilot.pause()
        assert app.chart.draws == drawn + 1
        assert app.chart.drawing.x_high == 130


async def test_data_that_is_due_is_drawn_at_once_and_equal_data_never() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line())
        drawn = app.chart.draws
        app.clock.now = 5.0
        await shown(app, pilot, line(list(range(101))))
        assert app.chart.draws == drawn
        assert not app.chart.waiting
        await shown(app, pilot, line(range(102)))
        assert app.chart.draws == drawn + 1
        await shown(app, pilot, line(range(103)))
        assert app.chart.waiting
        await pilot.press("y")
        assert not app.chart.waiting
        assert app.chart.drawing.x_high == 102


async def test_a_new_size_is_drawn_at_once() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line())
        await pilot.resize_terminal(30, 10)
        await pilot.pause()
        assert len(app.chart.drawing.rows) == 8
        for size in ((3, 3), (1, 1), (200, 60)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert len(app.chart.drawing.rows[0]) == 198


async def test_a_chart_that_fails_says_why() -> None:
    async with (app := ChartApp()).run_test(size=(90, 16)) as pilot:
        await shown(app, pilot, line(["[b]high"]))
        assert any("chart unavailable: could not convert string to float: '[b]high'" in row for row in picture(app))
        await shown(app, pilot, line(range(50)))
        await pilot.press("y", "y")
        assert not any("chart unavailable" in row for row in picture(app))


async def test_in_ascii_everything_is_ascii() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        app.add_class("-ascii")
        lines = [line(range(900), spread=True, letter="é"), Line("猫", [5, 90], [10, 80], 1, marks=True, broken=True)]
        await shown(app, pilot, *lines, note="a · b")
        await pilot.press("left")
        await pilot.pause()
        assert all(" " <= character <= "~" for row in picture(app) for character in row)
        await pilot.press("escape")
        assert "a - b" in picture(app)[-1]


async def test_without_colours_lines_are_told_apart_by_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    with no_color(monkeypatch):
        app = ChartApp()
    async with app.run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line(spread=True), Line("test", [0, 100], [5, 50], 1))
        rows = picture(app)
        assert "t train  e test" in rows[0]
        assert sum("e" in row[6:-1] for row in rows[1:-3]) == 1
        assert not app.chart.view.tints


async def test_an_ansi_theme_has_named_inks_and_no_tints() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        app.theme = "ansi-dark"
        await shown(app, pilot, line(range(900), spread=True))
        assert not app.chart.view.tints
        strips = [app.chart.render_line(y) for y in range(14)]
        colors = {segment.style.color for strip in strips for segment in strip if segment.style and segment.style.color}
        assert colors
        assert all(color.is_system_defined or color.is_default for color in colors)


async def test_a_tint_is_the_ink_blended_into_the_background() -> None:
    async with (app := ChartApp()).run_test(size=(60, 16)) as pilot:
        await shown(app, pilot, line([index % 9 for index in range(900)], spread=True))
        ink = app.chart.get_component_styles("chart--series-0").color
        tint = app.chart.background_colors[1].blend(ink, 0.3).rich_color
        strips = [app.chart.render_line(y) for y in range(14)]
        assert any(segment.style and segment.style.bgcolor == tint for strip in strips for segment in strip)
