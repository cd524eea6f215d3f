"""Errors inside the app: whatever fails is shown and logged, and the run that trains beside it continues."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from app_driver import form_row, screen_text, until
from example_runs import Example, make_example_runs, make_study
from fault_counts import Faults
from textual.events import Key, Leave, ScreenResume
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, Static

from torchdeck import presets
from torchdeck.core.runs.label import Label
from torchdeck.core.runs.layout import CONSOLE
from torchdeck.core.runs.reader import load_record
from torchdeck.core.studies.store import study_folders
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.app.pages import PAGES
from torchdeck.tui.screens.page import Page
from torchdeck.tui.setup.settings_form import Section
from torchdeck.tui.state.feed import Feed
from torchdeck.tui.state.messages import ModeRequested, StartRequested, StudyRequested
from torchdeck.tui.widgets.key_bar import KeyBar

MakeApp = Callable[..., Torchdeck]
DRAWING = ("render", "render_line", "get_content_width", "get_content_height")
"""What a widget may override of its drawing."""


class Raises:
    """Stands for a method, and counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *_: object, **__: object) -> Any:
        self.calls += 1
        raise ValueError("seeded")


@contextmanager
def broken(node: object, *methods: str) -> Iterator[Raises]:
    """An object whose methods raise."""
    raises = Raises()
    for name in methods:
        setattr(node, name, raises)
    try:
        yield raises
    finally:
        for name in methods:
            delattr(node, name)


@pytest.fixture
def app(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Torchdeck:
    """An app with runs and a study; unlike in other tests, an error in it does not fail the test."""
    monkeypatch.setattr(Torchdeck, "is_headless", False)
    made = make_app()
    make_example_runs(made.workspace.logs, time.time())
    make_study(made.workspace.logs, [Example("quickstart"), Example("quickstart", ("optimizer.lr=0.01",))])
    return made


async def train(app: Torchdeck, pilot: Pilot[None]) -> Feed:
    """Start a run that does not end by itself."""
    config = presets.load("quickstart").with_overrides(["training.epochs=100000", "training.threads=1"])
    app.post_message(StartRequested(config, Label("quickstart")))
    await until(pilot, lambda: app.workspace.feed and app.workspace.feed.record.epochs)
    assert app.workspace.feed
    return app.workspace.feed


async def stop(app: Torchdeck, pilot: Pilot[None], feed: Feed) -> None:
    """Stop the run, and see that nothing else did."""
    epochs = len(feed.record.epochs)
    await until(pilot, lambda: len(feed.record.epochs) > epochs)
    assert not feed.over
    feed.request("stop", "by the test")
    await until(pilot, lambda: feed.over)
    assert feed.record.started
    saved = load_record(app.workspace.logs / feed.record.started.run_id)
    assert (saved.status, saved.reason) == ("stopped", "by the test")


async def pages(app: Torchdeck, pilot: Pilot[None]) -> AsyncIterator[Page]:
    """Every page in turn."""
    messages = [
        *map(ModeRequested, PAGES),
        StudyRequested(None),
        StudyRequested(study_folders(app.workspace.logs)[0]),
    ]
    for message in messages:
        before = app.screen
        app.post_message(message)

        def arrived(before: Screen[Any] = before) -> bool:
            return app.screen is not before and isinstance(app.screen, Page) and app.screen.ready

        await until(pilot, arrived)
        assert isinstance(app.screen, Page)
        yield app.screen


async def called(raises: Raises) -> bool:
    """Whether a broken method is called, within a moment."""
    for _ in range(40):
        await asyncio.sleep(0.005)
        if raises.calls:
            return True
    return False


async def test_no_widget_that_cannot_be_drawn_stops_a_run(app: Torchdeck, faults: Faults) -> None:
    seeded: set[str] = set()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        feed = await train(app, pilot)
        async for page in pages(app, pilot):
            for widget in list(page._compositor.visible_widgets):
                name = type(widget).__name__
                if name not in seeded:
                    with broken(widget, *DRAWING) as raises:
                        widget.refresh(layout=True)
                        assert await called(raises), widget
                    seeded.add(name)
                    widget.refresh(layout=True)
        faults("widgets that cannot be drawn", len(seeded), crashes=int(feed.over))
        await stop(app, pilot, feed)
    assert len(seeded) > 25
    assert {"SetupPage", "FieldRow", "Input", "PlanPanel", "Chart", "RunTable", "HeatMap", "StudyPage"} <= seeded


async def test_a_widget_that_fails_says_so_and_the_rest_of_its_page_is_drawn(app: Torchdeck) -> None:
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        row = await form_row(app, pilot, "training.epochs")
        with broken(row, "render_line"):
            row.refresh()
            await until(pilot, lambda: "cannot be shown: ValueErr" in screen_text(app))
        row.refresh()
        await until(pilot, lambda: "Passes over the train" in screen_text(app))
        app.clear_notifications()
        section = app.screen.query(Section).first()
        with broken(section, "get_content_height"):
            section.refresh(layout=True)
            # To be shown, the message must be laid out.
            await until(pilot, lambda: "internal error" in screen_text(app))


async def test_no_key_whose_action_fails_stops_a_run(app: Torchdeck, faults: Faults) -> None:
    seeded: set[str] = set()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        feed = await train(app, pilot)
        async for page in pages(app, pilot):
            for key, active in page.active_bindings.items():
                node, name, _ = app._parse_action(active.binding.action, active.node, None)
                if (f"{type(node).__name__}.{name}") not in seeded and active.enabled:
                    with broken(node, f"_action_{name}", f"action_{name}") as raises:
                        app.post_message(Key(key, None))
                        assert await called(raises), (page, key, name)
                    seeded.add(f"{type(node).__name__}.{name}")
        faults("actions that fail", len(seeded), crashes=int(feed.over))
        await until(pilot, lambda: "internal error" in screen_text(app))
        await stop(app, pilot, feed)
    assert len(seeded) > 40
    assert {"Torchdeck.show", "Torchdeck.quit", "SetupPage.start", "LivePage.stop", "Chart.zoom"} <= seeded


async def test_failing_timers_and_handlers_stop_no_run_and_are_logged(
    app: Torchdeck, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        feed = await train(app, pilot)
        with broken(app, "_take_events") as raises:
            await until(pilot, lambda: raises.calls > 3)
        for owner, handler, message in (
            (Torchdeck, "on_mode_requested", ModeRequested("setup")),
            (Page, "on_screen_resume", ScreenResume()),
            (KeyBar, "on_leave", Leave(app)),
        ):
            node = app if owner is Torchdeck else app.screen if owner is Page else app.screen.query_one(KeyBar)
            with monkeypatch.context() as patched:
                failing = Raises()
                patched.setattr(owner, handler, lambda *event, failing=failing: failing(*event))
                node.post_message(message)
                assert await called(failing), handler
            assert node.is_running
        faults("timers and handlers that fail", 4, crashes=int(feed.over))
        started = feed.record.started
        assert started
        console = app.workspace.logs / started.run_id / CONSOLE
        await until(pilot, lambda: console.exists() and "_on_frame" in console.read_text())
        await until(pilot, lambda: "ValueError: seeded" in screen_text(app))
        await stop(app, pilot, feed)
    text = console.read_text()
    # One traceback of each place, however often it failed.
    assert text.count("in _on_frame") == 1
    assert "/" in text


@pytest.mark.parametrize("theme", ["ansi-dark", "torchdeck-dark"])
async def test_an_invalid_value_is_shown_in_every_kind_of_theme(make_app: MakeApp, theme: str) -> None:
    app = make_app(theme=theme)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        row = await form_row(app, pilot, "training.epochs")
        row.focus_editor()
        row.query_one(Input).value = "0"
        await until(pilot, lambda: "1 setting to fix" in screen_text(app))
        await until(pilot, lambda: "greater than or equal to 1" in str(app.screen.query_one("#hint", Static).visual))
        assert app.theme == theme
