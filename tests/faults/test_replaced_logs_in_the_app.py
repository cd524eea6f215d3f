"""A log that is cut, replaced or removed while the app shows it is shown as it is now, or as removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from app_driver import screen_text, until
from example_runs import make_example_runs
from fault_counts import Faults

from torchdeck.core.events import RunEvent
from torchdeck.core.runs.reader import EventReader
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.state.feed import Feed

NOW = 1_800_000_000.0


def read_twice(folder: Path, between: Callable[[], object]) -> Iterator[RunEvent]:
    """A log as it is followed, with something that happens to it between two looks."""
    reader = EventReader(folder)
    yield from reader.read()
    between()
    yield from reader.read()


async def test_live_and_runs_tell_of_a_log_that_is_gone(
    make_app: Callable[..., Torchdeck], tmp_path: Path, faults: Faults
) -> None:
    make_example_runs(tmp_path / "logs", NOW)
    folder = min((tmp_path / "logs").iterdir())
    app = make_app(tmp_path / "logs", page="runs")
    async with app.run_test(size=(160, 50)) as pilot:
        await until(pilot, lambda: "first" in screen_text(app))
        events = read_twice(folder, lambda: shutil.rmtree(folder))
        app.workspace.feed = Feed(lambda: events, lambda *_: None, own=False)
        app.workspace.feed.iterate()
        app.action_show("live")
        await until(pilot, lambda: "the log of this run was removed" in screen_text(app))
        assert app.workspace.feed.record.epochs == []
        app.action_show("runs")
        await until(pilot, lambda: app.current_mode == "runs" and "first" not in screen_text(app))
    faults("replaced logs")


async def test_live_shows_nothing_of_a_log_that_was_replaced(
    make_app: Callable[..., Torchdeck], tmp_path: Path, faults: Faults
) -> None:
    make_example_runs(tmp_path / "logs", NOW)
    folder, other, _ = sorted((tmp_path / "logs").iterdir())
    app = make_app(tmp_path / "logs", page="live")
    async with app.run_test(size=(160, 50)) as pilot:
        events = read_twice(folder, lambda: shutil.copy(other / "events.jsonl", folder / "events.jsonl"))
        app.workspace.feed = Feed(lambda: events, lambda *_: None, own=False)
        app.workspace.feed.iterate()
        feed = app.workspace.feed
        await until(pilot, lambda: any("the log was replaced" in line for _, line in feed.lines))
        await until(pilot, lambda: "5/8 epochs" in screen_text(app))
        assert len(feed.record.epochs) == 5
    faults("replaced logs")
