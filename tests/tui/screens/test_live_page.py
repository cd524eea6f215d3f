"""The Live page: which keys it offers, and what it shows of a run that has just started or ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from app_driver import screen_text, until
from example_runs import make_example_runs

from torchdeck.core.events import EpochCompleted, RunCompleted, RunEvent, StepCompleted, stamp
from torchdeck.core.runs.reader import EventReader
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.live.class_bars import ClassBars
from torchdeck.tui.live.log_pane import LogPane
from torchdeck.tui.state.feed import Feed
from torchdeck.tui.state.messages import ResumeRequested
from torchdeck.tui.state.refresh_rates import RefreshRates
from torchdeck.tui.widgets.chart import Chart

MakeApp = Callable[..., Torchdeck]
STOPPED = RunCompleted(status="stopped", reason="by hand", epoch=5, step=124, train_seconds=9.0, peak_memory=None)


class ActiveFeed(Feed):
    """Of a run that is not over until `ended` is set."""

    ended = False

    @property
    def over(self) -> bool:
        return self.ended


def feed_of(logs: Path, *later: RunEvent) -> ActiveFeed:
    """The feed of the example run that was stopped within its sixth epoch."""
    events = [*EventReader(next(logs.glob("*bbbb"))).read()]
    events += [stamp(event, seq=events[-1].seq + 1, t=events[-1].t, attempt=1) for event in later]
    feed = ActiveFeed(lambda: iter(events), lambda *_: None, own=False)
    feed.iterate()
    return feed


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Torchdeck:
    make_example_runs(tmp_path / "logs", 1_800_000_000.0)
    return make_app(tmp_path / "logs", page="live")


def keys(app: Torchdeck) -> str:
    return screen_text(app).splitlines()[-1]


async def test_the_keys_are_those_that_work_now(app: Torchdeck) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "No active run" in screen_text(app) and "Help" in keys(app))
        assert not any(key in keys(app) for key in ("Pause", "Stop", "Resume", "Analyze"))
        app.workspace.feed = feed = feed_of(app.workspace.logs, STOPPED)
        await until(pilot, lambda: "p Pause x Stop" in keys(app))
        assert "Resume" not in keys(app)
        feed.ended = True
        await until(pilot, lambda: "R Resume" in keys(app))
        assert not any(key in keys(app) for key in ("Pause", "Stop"))


async def test_a_key_resumes_the_stopped_run(app: Torchdeck, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(Torchdeck, "on_resume_requested", lambda _, message: asked.append(message.folder))
    assert ResumeRequested.handler_name == "on_resume_requested"
    async with app.run_test(size=(120, 40)) as pilot:
        app.workspace.feed = feed = feed_of(app.workspace.logs, STOPPED)
        feed.ended = True
        await until(pilot, lambda: "R Resume" in keys(app))
        await pilot.press("R")
        await until(pilot, lambda: [folder.name[-4:] for folder in asked] == ["bbbb"])


async def test_the_command_to_resume_is_in_the_log_whole_at_any_size(app: Torchdeck) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        app.workspace.feed = feed_of(app.workspace.logs, STOPPED)
        for size in ((80, 24), (120, 40)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda: "torchdeck resume 20270115-090000-quickstart-bbbb" in logged(app))


def logged(app: Torchdeck) -> str:
    """The log as it is wrapped, joined again."""
    return " ".join(" ".join(line.text for line in app.screen.query_one(LogPane).lines).split())


async def test_the_end_of_the_first_epoch_is_drawn_at_once(app: Torchdeck) -> None:
    app.rates = RefreshRates(0.05, 600.0)
    started, *rest = EventReader(next(app.workspace.logs.glob("*bbbb"))).read()
    step, epoch = rest[-1], next(event for event in rest if isinstance(event, EpochCompleted))
    assert isinstance(step, StepCompleted)
    parts = [[started, replace(step, epoch=1, step=9)], [epoch]]
    feed = ActiveFeed(lambda: iter(parts.pop(0)), lambda *_: None, own=False)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.screen.query(Chart))
        app.workspace.feed = feed
        for number, seen in enumerate(("train 0.284", "48.83 %")):
            parts[0] = [stamp(event, seq=10 * number + place, t=0.0, attempt=1) for place, event in enumerate(parts[0])]
            feed.iterate()
            await until(pilot, lambda seen=seen: seen in screen_text(app), 5)


async def test_a_key_changes_the_second_chart(app: Torchdeck) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        app.workspace.feed = feed_of(app.workspace.logs)
        await until(pilot, lambda: "Accuracy" in screen_text(app) and "93.05 %" in screen_text(app))
        for seen in ("Accuracy of each class", "Learning rate", "Speed", "Memory, GiB", "Accuracy"):
            await pilot.press("c")
            await until(pilot, lambda seen=seen: f"╭─ {seen}" in screen_text(app))
            chart = app.screen.query_one("#accuracy", Chart)
            await until(pilot, lambda chart=chart: not chart.display or chart.drawing.columns)


async def test_the_classes_are_those_of_the_last_evaluation_the_lowest_first(app: Torchdeck) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        app.workspace.feed = feed_of(app.workspace.logs)
        await until(pilot, lambda: "93.05 %" in screen_text(app))
        await pilot.press("c")
        await until(pilot, lambda: "epoch 5" in screen_text(app).split("Accuracy of each class")[-1])
        shares = [line.text for line in app.screen.query_one(ClassBars)._items]  # pyright: ignore[reportPrivateUsage]
        assert shares == sorted(shares)
        assert len(shares) == 10


async def test_a_key_hides_the_earlier_run_and_the_reported_figures(app: Torchdeck) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        app.workspace.feed = feed_of(app.workspace.logs)
        await until(pilot, lambda: "best aaaa" in screen_text(app) and "reported 97.00 %" in screen_text(app))
        await pilot.press("g")
        await until(pilot, lambda: "best aaaa" not in screen_text(app) and "reported" not in screen_text(app))
        await pilot.press("g")
        await until(pilot, lambda: "best aaaa" in screen_text(app))


async def test_both_charts_show_the_same_x_and_zoom_together(app: Torchdeck) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        app.workspace.feed = feed_of(app.workspace.logs)
        await until(pilot, lambda: "93.05 %" in screen_text(app))
        loss, second = app.screen.query_one("#loss", Chart), app.screen.query_one("#accuracy", Chart)
        await until(pilot, lambda: reach(loss) == reach(second) != (0.0, 1.0))
        whole = reach(loss)
        await pilot.press("plus", "plus")
        await until(pilot, lambda: reach(loss) == reach(second) != whole)
        second.focus()
        await pilot.press("0")
        await until(pilot, lambda: reach(loss) == reach(second) == whole)


def reach(chart: Chart) -> tuple[float, float]:
    """The range of x that a chart shows."""
    return chart.drawing.x_low, chart.drawing.x_high
