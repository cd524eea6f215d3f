"""The app lets a process of its own go on with the training in hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from app_driver import until

from torchdeck import presets
from torchdeck.core.errors import LogsError
from torchdeck.core.events import RunStarted
from torchdeck.core.processes.launch import DetachedRun, resume_detached
from torchdeck.core.runs.commands import send_command
from torchdeck.core.runs.label import Label
from torchdeck.core.runs.reader import load_record, tail_reader
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.live.page import LivePage
from torchdeck.tui.screens.dialogs import ConfirmDialog
from torchdeck.tui.state.handover import Handover
from torchdeck.tui.state.messages import StartRequested

pytestmark = pytest.mark.usefixtures("forked_programs")

MakeApp = Callable[..., Torchdeck]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[DetachedRun]]:
    """The processes that took over a run; each is waited for."""
    began: list[DetachedRun] = []

    def begin(folder: Path, data: Path, *, take_over: bool) -> DetachedRun:
        detached = resume_detached(folder, data, take_over=take_over)
        began.append(detached)
        return detached

    monkeypatch.setattr("torchdeck.tui.state.handover.resume_detached", begin)
    yield began
    for detached in began:
        detached.process.terminate()
        detached.process.wait()


def start(app: Torchdeck, *changes: str) -> None:
    item = presets.load("quickstart")
    config = item.with_overrides(["training.epochs=2000", "training.threads=1", *changes])
    app.post_message(StartRequested(config, Label(item.name)))


def trains(app: Torchdeck) -> bool:
    feed = app.workspace.feed
    return feed is not None and feed.record.step > 0


async def test_a_run_is_handed_over_and_followed_on(make_app: MakeApp, workers: list[DetachedRun]) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        start(app)
        await until(pilot, lambda: trains(app))
        own = app.workspace.feed
        await pilot.press("h")
        await until(pilot, lambda: app.workspace.feed is not own)
        assert own is not None
        assert own.record.status == "handed_over"
        follows = app.workspace.feed
        assert follows is not None
        await until(pilot, lambda: follows.record.attempt == 2 and follows.record.step > own.record.step)
        assert not app.workspace.training
        assert isinstance(app.screen, LivePage)
        assert [epoch.step_losses for epoch in follows.record.epochs][: len(own.record.epochs)] == [
            epoch.step_losses for epoch in own.record.epochs
        ]
        # Nothing of it is in hand any more, so nobody asks.
        await pilot.press("q")
        await until(pilot, lambda: app.return_code == 0)
    (detached,) = workers
    assert not detached.worker.ended
    assert follows.record.started
    send_command(app.workspace.logs / follows.record.started.run_id, "stop")
    detached.process.wait()


async def test_leaving_by_a_hand_over_leaves_the_run_training(make_app: MakeApp, workers: list[DetachedRun]) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        start(app)
        await until(pilot, lambda: trains(app))
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog) and app.screen.focused)
        await pilot.press("enter")
        await until(pilot, lambda: app.return_code == 0)
    feed = app.workspace.feed
    assert feed is not None
    assert feed.record.started
    folder = app.workspace.logs / feed.record.started.run_id
    assert load_record(folder).status in ("handed_over", "running")
    (detached,) = workers
    assert not detached.worker.ended


async def test_a_run_stays_where_it_is_when_no_process_can_take_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> DetachedRun:
        raise LogsError("no process can be started", "free memory")

    monkeypatch.setattr("torchdeck.tui.state.handover.resume_detached", fails)
    app = make_app()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        start(app)
        await until(pilot, lambda: trains(app))
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog) and app.screen.focused)
        await pilot.press("enter")
        await until(pilot, lambda: any("no process can be started" in toast.message for toast in app._notifications))
        feed = app.workspace.feed
        assert feed is not None
        step = feed.record.step
        await until(pilot, lambda: feed.record.step > step)
        assert app.return_code is None


def test_a_process_that_dies_before_it_has_the_run_is_told(tmp_path: Path) -> None:
    class Dead:
        ended = True

        def failure(self) -> None:
            return None

        def exit_text(self) -> str:
            return "its process was killed by SIGKILL"

    def take_over(folder: Path) -> DetachedRun:
        return DetachedRun(folder, None, Dead(), tail_reader(folder), False)  # type: ignore[arg-type]

    handover = Handover(tmp_path, tmp_path, take_over)
    began, told = RunStarted.__new__(RunStarted), threading.Event()
    object.__setattr__(began, "run_id", "x")
    events = handover.watch(iter([began]))
    next(events)
    handover.request()
    while not (failure := handover.take_failure()):
        told.wait(0.01)
    assert failure == "its process was killed by SIGKILL"
    while handover.in_progress:
        told.wait(0.01)
    handover.request()
    assert handover.in_progress
    events.close()  # type: ignore[attr-defined]


def test_a_fault_that_nobody_foresaw_is_told_too(tmp_path: Path) -> None:
    def take_over(folder: Path) -> DetachedRun:
        raise KeyError(folder.name)

    handover = Handover(tmp_path, tmp_path, take_over)
    began = RunStarted.__new__(RunStarted)
    object.__setattr__(began, "run_id", "x")
    events = handover.watch(iter([began]))
    next(events)
    told = list[str]()
    handover.request()
    handover.finish(told.append)
    assert told == ["not handed over: 'x'"]
