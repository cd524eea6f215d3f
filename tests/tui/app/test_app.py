"""The app as a person drives it, on real training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from app_driver import Lives, screen_text, until
from polling import until as until_shown
from pty_harness import Terminals
from textual.app import App
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Button, Input

from torchdeck import presets
from torchdeck.core.events import EpochCompleted
from torchdeck.core.runs.index import list_runs
from torchdeck.core.runs.reader import load_record
from torchdeck.core.studies.store import load_study, study_folders
from torchdeck.tui.analyze.page import AnalyzePage
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.compare.page import ComparePage
from torchdeck.tui.live.page import LivePage
from torchdeck.tui.runs.page import RunsPage
from torchdeck.tui.screens.dialogs import ConfirmDialog
from torchdeck.tui.setup import page as setup
from torchdeck.tui.setup.field_row import FieldRow
from torchdeck.tui.setup.page import SetupPage
from torchdeck.tui.setup.plan_panel import PlanPanel
from torchdeck.tui.setup.settings_form import Section, SettingsForm
from torchdeck.tui.state.messages import StartRequested, StudyRequested
from torchdeck.tui.state.settings_draft import SettingsDraft
from torchdeck.tui.state.study_processes import StudyProcesses
from torchdeck.tui.studies.list_page import StudiesPage
from torchdeck.tui.studies.page import StudyPage
from torchdeck.tui.widgets.chart import Chart

MakeApp = Callable[..., Torchdeck]
END_OF_FRAME = b"\x1b[?2026l"


def has_form(app: Torchdeck) -> bool:
    """Whether the form's lines are there, with their editors: they are made after the first frame."""
    lines = {row.setting.path: len(row.children) for row in app.screen.query(FieldRow)}
    return "data.name" in lines and all(lines.values())


def row_of(app: Torchdeck, path: str) -> FieldRow:
    """The form's line of a setting."""
    row = app.screen.query_one(SettingsForm).row(path)
    assert row is not None
    return row


def type_in(app: Torchdeck, path: str, text: str) -> None:
    """Put a text into a field as typing would."""
    row_of(app, path).query_one(Input).value = text


async def answer(app: Torchdeck, pilot: Pilot[None], value: str) -> None:
    """Give one of the answers of the question that comes up."""
    await until(pilot, lambda: app.screen.query(f"#answer-{value}"))
    app.screen.query_one(f"#answer-{value}", Button).press()


def plan_text(app: Torchdeck) -> str:
    return str(app.screen.query_one(PlanPanel).render())


async def test_the_whole_way_from_a_preset_to_the_analysis(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))

        # Pick, edit a field wrongly and see why, mend it.
        assert isinstance(app.screen, SetupPage)
        await pilot.press("enter")
        type_in(app, "training.epochs", "0")
        await until(pilot, lambda: row_of(app, "training.epochs").fault)
        assert "greater than or equal to 1" in row_of(app, "training.epochs").fault
        await pilot.press("f5")
        assert app.workspace.feed is None
        type_in(app, "training.epochs", "200")
        type_in(app, "training.threads", "1")
        await until(pilot, lambda: "4,600 steps" in plan_text(app))

        # Start, and watch both charts move.
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, LivePage))
        await until(pilot, lambda: app.workspace.feed and len(app.workspace.feed.record.epochs) > 1)
        loss, accuracy = app.screen.query_one("#loss", Chart), app.screen.query_one("#accuracy", Chart)
        drawn = loss.draws, accuracy.draws
        await until(pilot, lambda: loss.draws > drawn[0] and accuracy.draws > drawn[1])
        feed = app.workspace.feed
        assert feed is not None

        # Pause, look at another page, resume, stop after the epoch.
        await pilot.press("p")
        await until(pilot, lambda: feed.record.status == "paused")
        step = feed.record.step
        await pilot.press("3", "2")
        assert feed.record.step == step
        await pilot.press("p")
        await until(pilot, lambda: feed.record.status == "running" and feed.record.step > step)
        await pilot.press("x")
        await answer(app, pilot, "epoch")
        await until(pilot, lambda: feed.over)
        assert feed.record.status == "stopped"
        assert feed.record.step % 23 == 0

        # A second run to compare with, started from the first one's settings.
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, RunsPage))
        await until(pilot, lambda: "1 of 1" in screen_text(app))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, SetupPage))
        await until(pilot, lambda: row_of(app, "training.epochs").query_one(Input).value == "200")
        type_in(app, "training.epochs", "2")
        type_in(app, "optimizer.lr", "0.01")
        await until(pilot, lambda: "46 steps" in plan_text(app))
        await pilot.press("f5")
        await until(pilot, lambda: app.workspace.feed is not feed and app.workspace.feed and app.workspace.feed.over)

        # Find both in Runs, compare them, open Analyze.
        await pilot.press("3")
        await until(pilot, lambda: "2 of 2" in screen_text(app))
        await pilot.press("up", "space", "down", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, ComparePage))
        await until(pilot, lambda: "0.002" in screen_text(app) and "0.01" in screen_text(app))
        await pilot.press("3", "enter")
        await until(pilot, lambda: isinstance(app.screen, AnalyzePage))
        await until(pilot, lambda: "predicted as" in screen_text(app))
    rows = list_runs(tmp_path / "logs")
    assert [row.status for row in rows] == ["stopped", "completed"]


async def start(app: Torchdeck, *changes: str) -> None:
    """Start the quickstart with changes, past the form."""
    from torchdeck.core.runs.label import Label

    item = presets.load("quickstart")
    app.post_message(StartRequested(item.with_overrides([*changes, "training.threads=1"]), Label(item.name)))


async def test_quitting_while_a_run_is_active_asks_and_stays(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(100, 30)) as pilot:
        await start(app, "training.epochs=1000")
        await until(pilot, lambda: app.workspace.feed and app.workspace.feed.record.step > 0)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog) and app.screen.focused)
        await pilot.press("left", "enter")
        await until(pilot, lambda: not isinstance(app.screen, ConfirmDialog))
        assert app.workspace.training
        await pilot.press("q")
        await answer(app, pilot, "stop")
        await until(pilot, lambda: app.return_code == 0)
    feed = app.workspace.feed
    assert feed is not None
    assert feed.record.started is not None
    saved = load_record(app.workspace.logs / feed.record.started.run_id)
    assert (saved.status, saved.reason) == ("stopped", "the app was quit")
    assert saved.checkpoints[-1].step == saved.step


async def test_an_app_that_cannot_continue_stops_its_run_with_a_checkpoint(make_app: MakeApp) -> None:
    app = make_app()

    async def crash() -> None:
        async with app.run_test(size=(100, 30)) as pilot:
            await start(app, "training.epochs=1000")
            await until(pilot, lambda: app.workspace.feed and app.workspace.feed.record.step > 0)
            # What Textual does with errors outside of all handlers and widgets.
            app.call_later(App._handle_exception, app, ZeroDivisionError())
            await pilot.pause(0.2)

    with pytest.raises(ZeroDivisionError):
        await crash()
    feed = app.workspace.feed
    assert feed is not None
    assert feed.wait(60)
    assert feed.record.started is not None
    assert load_record(app.workspace.logs / feed.record.started.run_id).reason == "the app failed"


async def test_a_failed_run_is_told_and_the_app_stays(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 30), notifications=True) as pilot:
        await start(app, "data.name=image-folder", "data.path=[red]nowhere[/]", "data.download=false")
        await until(pilot, lambda: app.workspace.feed and app.workspace.feed.over)
        await until(pilot, lambda: "nowhere" in screen_text(app))
        assert "[red]" in screen_text(app)
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, SetupPage))


async def test_a_list_of_values_starts_a_study_in_a_process_of_its_own(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    began: list[Sequence[str]] = []

    def start_process(command: Sequence[str], _: Path) -> Lives:
        began.append(command)
        return Lives()

    app.workspace.processes = StudyProcesses(start_process)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        type_in(app, "training.epochs", "2")
        type_in(app, "optimizer.lr", "0.001, 0.01")
        type_in(app, "label.tags", "first try")
        await until(pilot, lambda: "2 runs" in plan_text(app))
        await pilot.press("f5")
        await until(pilot, lambda: app.screen.query("#dialog-input"))
        app.screen.query_one("#dialog-input", Input).value = "cpu:2"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, StudyPage) and "starting: 2 runs" in screen_text(app))
        assert app.workspace.feed is None
    (folder,) = study_folders(tmp_path / "logs")
    study = load_study(folder)
    settings = [(run.config["optimizer"]["lr"], run.config["training"]["epochs"]) for run in study.runs]
    assert (settings, study.tags) == ([(0.001, 2), (0.01, 2)], ("first", "try"))
    ((*_, name, logs_option, logs, _, _, devices_option, devices),) = began
    assert (name, logs_option, logs) == (folder.name, "--logs", str(tmp_path / "logs"))
    assert (devices_option, devices) == ("--devices", "cpu:2")


async def test_the_command_of_the_form_is_copied(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        type_in(app, "optimizer.lr", "0.01")
        await pilot.press("f6")
        await until(pilot, lambda: app.clipboard)
        assert app.clipboard == "torchdeck run quickstart optimizer.lr=0.01"


async def test_settings_are_saved_as_a_preset_of_ones_own(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        type_in(app, "training.epochs", "7")
        await until(pilot, lambda: "161 steps" in plan_text(app))
        await pilot.press("f8")
        await until(pilot, lambda: app.screen.query("#dialog-input"))
        app.screen.query_one("#dialog-input", Input).value = "mine"
        await pilot.press("enter")
        await until(pilot, lambda: (tmp_path / "presets" / "mine.toml").exists())
    assert presets.load("mine").config.training.epochs == 7


async def test_finding_a_setting_hides_the_others(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        await pilot.press("slash", *"momentum")
        shown = {row.setting.path for row in app.screen.query(FieldRow) if row.display}
        assert shown == set()
        await pilot.press(*["backspace"] * 8, *"smooth")
        assert {row.setting.path for row in app.screen.query(FieldRow) if row.display} == {"training.label_smoothing"}


async def test_a_setting_that_has_the_focus_before_it_was_laid_out_is_in_view(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Section.show

    async def show_and_focus(self: Section, draft: SettingsDraft) -> None:
        await show(self, draft)
        if self.section == "training":
            row_of(app, "training.device").focus_editor()

    monkeypatch.setattr(Section, "show", show_and_focus)
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: has_form(app))
        await until(pilot, lambda: app.screen.can_view_entire(row_of(app, "training.device")))
        await until(pilot, lambda: "Enter lists this machine's devices" in screen_text(app))


async def test_reset_puts_a_setting_back(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        row_of(app, "training.epochs").focus_editor()
        type_in(app, "training.epochs", "9")
        await until(pilot, lambda: "1 setting changed" in plan_text(app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: row_of(app, "training.epochs").query_one(Input).value == "30")
        await until(pilot, lambda: "0 settings changed" in plan_text(app))


async def test_a_measured_warm_up_tells_the_time(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "F7 measures" in plan_text(app))
        await pilot.press("f7")
        await until(pilot, lambda: "(measured)" in plan_text(app))


async def test_a_run_of_another_process_is_watched(make_app: MakeApp, small: object, context: object) -> None:
    from torchdeck.core.control import Control
    from torchdeck.core.session.session import run
    from torchdeck.tui.state.messages import WatchRequested

    app = make_app()
    other = run(small({"training.epochs": 50}), app.workspace.logs, Control(), context=context)  # type: ignore[operator, arg-type]
    for event in other:
        if isinstance(event, EpochCompleted):
            break
    (folder,) = (path for path in app.workspace.logs.iterdir())
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(WatchRequested(folder))
        await until(pilot, lambda: app.workspace.feed and app.workspace.feed.record.epochs)
        feed = app.workspace.feed
        assert feed is not None
        seen = len(feed.record.epochs)
        for event in other:
            if isinstance(event, EpochCompleted) and event.epoch > seen:
                break
        await until(pilot, lambda: len(feed.record.epochs) > seen)
        await pilot.press("x")
        await answer(app, pilot, "run")
        await until(pilot, lambda: (folder / "control" / "stop").exists())
        list(other)
        await until(pilot, lambda: feed.over)
        assert feed.record.status in ("stopped", "completed")


async def test_the_keys_of_a_page_are_told(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        await pilot.press("question_mark")
        await until(pilot, lambda: "Find" in screen_text(app) and "esc closes" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SetupPage))


async def test_a_tiny_terminal_says_so(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(39, 12)) as pilot:
        await pilot.pause()
        assert screen_text(app).strip().startswith("too small")


def test_the_presets_are_seen_before_the_form_is_made(terminals: Terminals) -> None:
    """The form takes as long as all else together; nobody waits for it to pick a preset."""
    pty = terminals.pty()
    process = terminals.start(pty, "tui")
    until_shown(lambda: pty.shows("Endless", "batch size"), lambda: pty.said[-2000:])
    process.terminate()
    assert terminals.code(process) == 143
    frames = bytes(pty.said).split(END_OF_FRAME)
    presets = next(number for number, frame in enumerate(frames) if b"Endless" in frame)
    form = next(number for number, frame in enumerate(frames) if b"batch size" in frame)
    assert presets < form


@pytest.mark.parametrize("made", [True, False])
async def test_what_starts_is_what_is_picked_before_the_form_shows_it(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    asked: list[StartRequested] = []
    monkeypatch.setattr(setup, "PLAN_DELAY_SECONDS", 600.0)
    monkeypatch.setattr(Torchdeck, "on_start_requested", lambda _, message: asked.append(message))
    if not made:
        monkeypatch.setattr(SetupPage, "on_preset_list_drawn", lambda _: None)
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app) if made else "Basic CNN" in screen_text(app))
        await pilot.press(*(["down"] if made else []), "f5")
        await until(pilot, lambda: asked)
        wanted = presets.load("basic-cnn" if made else "quickstart")
        assert (asked[0].label.preset, asked[0].config) == (wanted.name, wanted.config)


async def test_the_frame_of_the_panel_with_the_focus_stands_out(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        frame = app.screen.query_one("#settings").styles
        quiet = frame.border_top
        await pilot.press("enter")
        await until(pilot, lambda: frame.border_top != quiet)
        focused = frame.border_top
        await pilot.press("tab")
        assert frame.border_top == focused
        await pilot.press("escape")
        await until(pilot, lambda: frame.border_top == quiet)


async def test_the_chosen_theme_is_remembered(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(app))
        app.screen.query_one("#presets").focus()
        await pilot.press("d")
        assert app.theme == "torchdeck-light"
    assert app.workspace.preferences.text("theme") == "torchdeck-light"


def inks(app: Torchdeck) -> list[tuple[str, str, str]]:
    """The ink and the border of all that stands on the page."""
    found = [node for node in app.screen.walk_children(Widget) if node.is_mounted]
    return [(type(node).__name__, str(node.rich_style), str(node.styles.border)) for node in found]


async def test_a_theme_reaches_pages_that_were_out_of_view(make_app: MakeApp) -> None:
    """Also one below another: the list of studies stands above Runs."""
    fresh, changed = make_app(theme="torchdeck-light"), make_app()
    async with fresh.run_test(size=(120, 40)) as pilot:
        fresh.action_show("runs")
        await until(pilot, lambda: fresh.screen.query("#filter"))
        await pilot.pause()
        expected = inks(fresh)
    async with changed.run_test(size=(120, 40)) as pilot:
        changed.action_show("runs")
        await until(pilot, lambda: changed.screen.query("#filter"))
        changed.post_message(StudyRequested(None))
        await until(pilot, lambda: isinstance(changed.screen, StudiesPage))
        changed.action_show("setup")
        await until(pilot, lambda: isinstance(changed.screen, SetupPage))
        before = inks(changed)
        changed.action_next_theme()
        await until(pilot, lambda: inks(changed) != before)
        changed.switch_mode("runs")
        await until(pilot, lambda: isinstance(changed.screen, StudiesPage))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(changed.screen, RunsPage))
        await pilot.pause()
        assert inks(changed) == expected


@pytest.mark.parametrize("theme", ["textual-dark", "nord", "ansi-light", "torchdeck-contrast"])
async def test_every_page_comes_up_in_any_theme(make_app: MakeApp, theme: str) -> None:
    app = make_app(theme=theme)
    async with app.run_test(size=(120, 40)) as pilot:
        for mode in ("live", "runs", "compare", "analyze", "setup"):
            app.action_show(mode)
            await pilot.pause()
        assert app.theme == theme


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
@pytest.mark.parametrize("away", ["live", "runs"])
async def test_a_page_that_was_out_of_view_has_the_terminals_new_size(
    make_app: MakeApp, size: tuple[int, int], away: str
) -> None:
    """It looks as on a terminal that had the size from the start."""
    fresh, resized = make_app(), make_app()
    async with fresh.run_test(size=size) as pilot:
        await until(pilot, lambda: has_form(fresh) and "634.5 MiB" in screen_text(fresh))
        await pilot.pause()
        expected = screen_text(fresh)
    async with resized.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: has_form(resized))
        resized.action_show(away)
        await until(pilot, lambda: resized.current_mode == away)
        await pilot.resize_terminal(*size)
        resized.action_show("setup")
        await until(pilot, lambda: screen_text(resized) == expected)
