"""Typing into the form of Setup: a field takes the number that was typed, whatever it held before."""

from __future__ import annotations

from collections.abc import Callable

from app_driver import form_row, until
from textual.widgets import Input

from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.setup.field_row import FieldRow
from torchdeck.tui.setup.page import SetupPage
from torchdeck.tui.setup.preset_list import PresetList

MakeApp = Callable[..., Torchdeck]
EPOCHS = "training.epochs"


async def test_a_field_that_gets_the_focus_is_selected_and_typing_replaces_its_value(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        row = await form_row(app, pilot, EPOCHS)
        app.screen.query_one(PresetList).focus()
        for _ in range(30):
            if row.has_focus_within:
                break
            await pilot.press("tab")
        for typed, kept in (("3", "3"), ("12", "12")):
            await pilot.press(*typed)
            assert row.query_one(Input).value == kept
            await pilot.press("tab", "shift+tab")
        # An arrow keeps it, to be edited.
        await pilot.press("end", "0")
        assert row.query_one(Input).value == "120"


async def test_typing_replaces_the_value_of_another_preset_or_a_reset_one(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        row = await form_row(app, pilot, EPOCHS)
        row.focus_editor()
        await pilot.press("end", "left", "7")
        value = row.query_one(Input).value
        assert "7" in value
        # The focus stays in the field.
        await pilot.press("ctrl+r")
        await until(pilot, lambda: row.query_one(Input).value != value)
        await pilot.press("5")
        assert row.query_one(Input).value == "5"
        assert isinstance(app.screen, SetupPage)
        app.screen.on_preset_list_picked(PresetList.Picked("basic-cnn"))
        await until(pilot, lambda: epochs_of(app) not in ("5", ""))
        (row,) = (row for row in app.screen.query(FieldRow) if row.setting.path == EPOCHS)
        row.focus_editor()
        await pilot.press("4")
        assert epochs_of(app) == "4"


def epochs_of(app: Torchdeck) -> str:
    """What the field of the epochs holds."""
    (row,) = (row for row in app.screen.query(FieldRow) if row.setting.path == EPOCHS)
    return row.query_one(Input).value
