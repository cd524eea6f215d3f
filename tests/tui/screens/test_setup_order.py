"""Setup in the order of thought: presets by data set, the settings that are changed most first, the rest folded."""

from __future__ import annotations

from collections.abc import Callable

from app_driver import form_row, screen_text, until
from textual.widgets import Input

from torchdeck.core.settings import settings_of
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.setup.field_row import FieldRow
from torchdeck.tui.setup.plan_panel import PlanPanel
from torchdeck.tui.setup.preset_list import PresetList

MakeApp = Callable[..., Torchdeck]


def shown(app: Torchdeck) -> list[str]:
    """The settings that the form shows, in order."""
    return [row.setting.path for row in app.screen.query(FieldRow) if row.display and row.setting.path[:5] != "label"]


async def test_what_is_changed_most_comes_first_and_the_rest_is_folded(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await form_row(app, pilot, "data.name")
        await until(pilot, lambda: "data.name" in shown(app))
        assert shown(app)[:2] == ["training.epochs", "training.batch_size"]
        assert {"optimizer.lr", "training.seed", "training.device", "model.name"} <= set(shown(app))
        assert "training.lookahead" not in shown(app)
        await pilot.press("f9")
        await until(pilot, lambda: "training.lookahead" in shown(app))
        assert app.workspace.preferences.flag("setup.advanced")
        await pilot.press("f9")
        await until(pilot, lambda: "training.lookahead" not in shown(app))


async def test_the_name_and_the_tags_of_the_run_have_room(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        rows = [await form_row(app, pilot, f"label.{key}") for key in ("name", "tags")]
        section = app.screen.query_one("#section-label")
        await until(pilot, lambda: section.size.height == 1 + len(rows))  # the title and a line each


async def test_a_search_or_a_fault_opens_what_is_folded(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        row = await form_row(app, pilot, "training.lookahead")
        find = app.screen.query_one("#find", Input)
        find.value = "lookahead"
        await until(pilot, lambda: "training.lookahead" in shown(app) and "training.epochs" not in shown(app))
        find.value = "no such thing"
        await until(pilot, lambda: "No setting has this in its name or help." in screen_text(app))
        find.value = ""
        await until(pilot, lambda: "training.lookahead" not in shown(app))
        row.query_one(Input).value = "many"
        await until(pilot, lambda: "training.lookahead" in shown(app))


async def test_a_section_says_how_many_settings_differ(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        (await form_row(app, pilot, "training.epochs")).query_one(Input).value = "7"
        (await form_row(app, pilot, "training.batch_size")).query_one(Input).value = "32"
        await until(pilot, lambda: "Training  2 changed" in screen_text(app))


async def test_several_values_are_a_table_of_runs_before_the_start(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        (await form_row(app, pilot, "training.device")).query_one(Input).value = "cpu"
        (await form_row(app, pilot, "training.seed")).query_one(Input).value = "1, 2"
        (await form_row(app, pilot, "optimizer.lr")).query_one(Input).value = "0.1, 0.2, 0.3, 0.4"
        await until(pilot, lambda: "8 runs of" in plan(app))
        assert "1     0.1" in plan(app)
        assert "2     0.2" in plan(app)
        assert "and 2 more" in plan(app)


async def test_the_plan_says_what_is_automatic_and_what_it_became(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        (await form_row(app, pilot, "training.device")).query_one(Input).value = "cpu"
        await until(pilot, lambda: "auto:" in plan(app))
        assert "evaluation batch size " in plan(app)


def plan(app: Torchdeck) -> str:
    return str(app.screen.query_one(PlanPanel).render())


async def test_presets_are_grouped_by_data_set_and_filtered_as_one_types(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        presets = app.screen.query_one(PresetList)
        await until(pilot, lambda: presets.option_count > 10)
        ids = [option.id for option in presets.options]
        assert ids[:2] == [None, "quickstart"]
        app.screen.query_one("#preset-filter", Input).value = "mnist resnet"
        await until(pilot, lambda: [option.id for option in presets.options] == [None, "mnist-resnet34"])
        app.screen.query_one("#preset-filter", Input).value = "nothing"
        await until(pilot, lambda: "No preset has this" in screen_text(app))


def test_bounds_are_in_one_spelling() -> None:
    bounds = {setting.path: setting.bounds for setting in settings_of()}
    assert bounds["training.epochs"] == "1 to 100,000"
    assert bounds["optimizer.lr"] == "above 0, at most 100"
    assert not any(sign in text for text in bounds.values() for sign in "<>")
