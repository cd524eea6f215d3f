"""The head of the live page says what is new, in the colours and the width of the moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_driver import screen_text, until
from example_runs import example_record, make_example_runs
from textual.app import App, ComposeResult

from torchdeck.core.events import CommandApplied, RunCompleted
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


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    make_example_runs(tmp_path, 1_800_000_000.0)
    return tmp_path


async def test_a_stopped_run_counts_the_epochs_that_are_done(logs: Path) -> None:
    ending = RunCompleted(status="stopped", reason="by hand", epoch=5, step=124, train_seconds=9.0, peak_memory=None)
    app = Bench()
    async with app.run_test(size=(100, 5)) as pilot:
        app.bars.show(example_record(logs, "bbbb", ending))
        await until(pilot, lambda: "5/8 epochs" in screen_text(app))
        assert all(text in screen_text(app) for text in ("epoch 6", "39%", "9/23", "67%"))
        assert "left" not in screen_text(app)


async def test_a_completed_run_has_a_full_epoch(logs: Path) -> None:
    app = Bench()
    async with app.run_test(size=(100, 5)) as pilot:
        app.bars.show(example_record(logs, "aaaa"))
        await until(pilot, lambda: "8/8 epochs" in screen_text(app))
        assert screen_text(app).count("100%") == 2


async def test_a_stop_after_the_epoch_shows_in_the_head_and_the_time_left(logs: Path) -> None:
    app = Bench()
    async with app.run_test(size=(100, 5)) as pilot:
        app.bars.show(example_record(logs, "bbbb"))
        await until(pilot, lambda: "6.5 s left" in screen_text(app))
        app.bars.show(example_record(logs, "bbbb", CommandApplied(command="stop-after-epoch", reason="", step=124)))
        await until(pilot, lambda: "stops after this epoch" in screen_text(app))
        assert "1.5 s left" in screen_text(app)


async def test_the_bars_take_the_colours_of_another_theme() -> None:
    app = Bench()
    async with app.run_test(size=(100, 5)) as pilot:
        app.bars.show(stage("training"))
        before = app.colors()
        app.theme = "textual-light"
        await until(pilot, lambda: app.colors() != before)
