"""The head of the live page says what is new, in the colours and the width of the moment."""

from __future__ import annotations

from app_driver import screen_text, until
from textual.app import App, ComposeResult

from torchdeck.core.runs.record import RunRecord
from torchdeck.tui.live.progress_bars import ProgressBars


class Bench(App[None]):
    """The bars alone."""

    CSS = "ProgressBars { width: 100%; }"

    def compose(self) -> ComposeResult:
        yield ProgressBars()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"track": "#404040", "quiet": "#808080"}

    @property
    def bars(self) -> ProgressBars:
        return self.query_one(ProgressBars)

    def colors(self) -> set[object]:
        """The colours of the first bar."""
        return {segment.style.color for segment in self.bars.render_line(1) if segment.style}


def stage(words: str) -> RunRecord:
    record = RunRecord()
    record.stage = words
    return record


async def test_the_head_says_what_is_new_and_keeps_to_its_width() -> None:
    app = Bench()
    async with app.run_test(size=(100, 5)) as pilot:
        app.bars.show(stage("reading the data"))
        await until(pilot, lambda: "reading the data" in screen_text(app))
        app.bars.show(stage("compiling"))
        await until(pilot, lambda: "compiling" in screen_text(app) and "reading" not in screen_text(app))
        await pilot.resize_terminal(70, 5)
        await until(pilot, lambda: app.bars.render_line(1).cell_length == app.bars.size.width == 68)
        assert "compiling" in screen_text(app)


async def test_the_bars_take_the_colours_of_another_theme() -> None:
    app = Bench()
    async with app.run_test(size=(100, 5)) as pilot:
        app.bars.show(stage("training"))
        before = app.colors()
        app.theme = "textual-light"
        await until(pilot, lambda: app.colors() != before)
