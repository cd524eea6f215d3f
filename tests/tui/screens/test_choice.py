"""A choice of the form: its list opens, is searched, takes what is picked, and goes when it is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from app_driver import form_row, screen_text, until
from textual.app import App, ComposeResult
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Select

from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.setup.choice import Choice
from torchdeck.tui.setup.settings_form import SettingsForm

TEXTS = ("sgd", "adam", "adamw", "lion")


class Bench(App[None]):
    """A choice above another widget that can have the focus."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[str] = []

    def compose(self) -> ComposeResult:
        yield Choice(TEXTS, "adam")
        yield Input(id="other")

    def on_choice_changed(self, event: Choice.Changed) -> None:
        self.chosen.append(event.value)

    @property
    def choice(self) -> Choice:
        return self.query_one(Choice)

    @property
    def is_open(self) -> bool:
        lists = self.query(OptionList)
        return bool(lists) and lists.first().display and self.focused is lists.first()

    @property
    def is_closed(self) -> bool:
        return not self.query(Select) and not self.choice.children


@asynccontextmanager
async def opened(by: str = "enter") -> AsyncGenerator[tuple[Bench, Pilot[None]]]:
    """An app whose list is open."""
    app = Bench()
    async with app.run_test(size=(60, 20)) as pilot:
        app.choice.focus()
        await pilot.press(by)
        await until(pilot, lambda: app.is_open)
        yield app, pilot


@pytest.mark.parametrize("key", ["enter", "space", "up", "down"])
async def test_a_list_opens_at_what_is_chosen_and_takes_another(key: str) -> None:
    async with opened(key) as (app, pilot):
        assert app.query_one(OptionList).highlighted == TEXTS.index("adam")
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.is_closed and app.focused is app.choice)
        assert app.chosen == ["adamw"]
        assert app.choice.value == "adamw"


async def test_typing_finds_a_text_of_the_list() -> None:
    async with opened() as (app, pilot):
        await pilot.press(*"li", "enter")
        await until(pilot, lambda: app.is_closed)
        assert app.chosen == ["lion"]


async def test_what_is_typed_before_the_list_is_there_is_for_the_list() -> None:
    app = Bench()
    async with app.run_test(size=(60, 20)) as pilot:
        app.choice.focus()
        await pilot.pause()
        for key in ("enter", *"li", "up", "enter"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: app.chosen == ["adamw"] and app.is_closed)
        assert app.focused is app.choice


async def test_escape_closes_the_list_and_changes_nothing() -> None:
    async with opened() as (app, pilot):
        await pilot.press("down", "escape")
        await until(pilot, lambda: app.is_closed and app.focused is app.choice)
        assert app.chosen == []
        await pilot.press("enter")
        await until(pilot, lambda: app.is_open)


async def test_a_list_that_is_left_closes_without_taking_the_focus_back() -> None:
    async with opened() as (app, pilot):
        await pilot.press("tab")
        await until(pilot, lambda: app.is_closed and app.focused is app.query_one("#other"))
        assert app.chosen == []


async def test_a_click_opens_the_list_and_a_click_takes_a_text() -> None:
    app = Bench()
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.click(Choice)
        await until(pilot, lambda: app.is_open)
        place = next(y for y, line in enumerate(screen_text(app).splitlines()) if "lion" in line)
        await pilot.click(offset=(4, place))
        await until(pilot, lambda: app.is_closed)
        assert app.chosen == ["lion"]


async def test_another_optimizer_in_the_form_brings_its_own_settings(make_app: Callable[..., Torchdeck]) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        named = await form_row(app, pilot, "optimizer.name")
        row = app.screen.query_one(SettingsForm).row
        assert row("optimizer.last_lr") is None
        named.focus_editor()
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.query("SelectOverlay:focus"))
        await pilot.press(*"muon", "enter")
        await until(pilot, lambda: row("optimizer.last_lr"))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: row("optimizer.last_lr") is None)
