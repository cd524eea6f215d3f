"""Tags, notes and the trash: as functions, and from the page of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from torchdeck.core.errors import BusyError, LogsError
from torchdeck.core.runs.index import RunIndex, list_runs
from torchdeck.core.runs.manage import read_notes, restore, trash, trash_ids, write_notes
from torchdeck.core.runs.writer import claim, reopen
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.state.preferences import Preferences
from torchdeck.tui.state.refresh_rates import RefreshRates
from torchdeck.tui.state.workspace import Workspace

ONE, TWO = "20260101-000000-x-aaaa", "20260101-000000-x-bbbb"


def made(logs: Path, run_id: str = ONE) -> Path:
    writer = claim(logs, run_id, {"preset": "quickstart", "created": 1.0 + (run_id == TWO), "tags": ["given"]})
    (writer.folder / "summary.json").write_text(json.dumps({"status": "completed"}))
    writer.close()
    return writer.folder


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def app(logs: Path, tmp_path: Path) -> Torchdeck:
    workspace = Workspace(logs, tmp_path / "data", Preferences(), lambda: 100.0, RunIndex(logs))
    return Torchdeck(workspace, refresh=RefreshRates(60.0, 60.0))


async def opened(pilot: Pilot[None]) -> None:
    await pilot.pause()
    pilot.app.switch_mode("runs")
    await pilot.pause()
    await pilot.pause()


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        await pilot.pause(0.02)
    raise AssertionError("it never came true")


def test_notes_survive_and_the_last_writer_wins(logs: Path) -> None:
    folder = made(logs)
    assert read_notes(folder) == ([], "")
    write_notes(folder, ["a", "b", "a", ""], "first")
    write_notes(folder, ["b"], "second")
    assert read_notes(folder) == (["b"], "second")
    assert list_runs(logs)[0].tags == ("given", "b")


@pytest.mark.parametrize("content", ["", "[]", '{"tags": 3, "note": null}'])
def test_damaged_notes_read_as_none(logs: Path, content: str) -> None:
    folder = made(logs)
    (folder / "notes.json").write_text(content)
    assert read_notes(folder)[0] == []


def test_the_trash_gives_back_what_went_in(logs: Path) -> None:
    folder = made(logs)
    before = sorted(path.name for path in folder.iterdir())
    trash(folder)
    assert list_runs(logs) == []
    assert trash_ids(logs) == [ONE]
    assert sorted(path.name for path in restore(logs, ONE).iterdir()) == before
    assert trash_ids(logs) == []


def test_an_active_run_and_one_that_is_not_there_are_refused(logs: Path) -> None:
    writer = reopen(made(logs))
    with pytest.raises(BusyError):
        trash(writer.folder)
    writer.close()
    with pytest.raises(LogsError):
        restore(logs, ONE)


async def test_delete_asks_and_keeps_the_run_by_default(app: Torchdeck, logs: Path) -> None:
    made(logs)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("delete")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        assert [row.id for row in list_runs(logs)] == [ONE]


async def test_a_deleted_run_comes_back(app: Torchdeck, logs: Path) -> None:
    made(logs)
    made(logs, TWO)
    app.workspace.marked.append(TWO)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("delete")
        await pilot.pause()
        await pilot.press("left", "enter")
        await until(pilot, lambda: trash_ids(logs) == [TWO])
        assert app.workspace.marked == []
        assert any("ctrl+z restores it" in toast.message for toast in app._notifications)
        await pilot.press("ctrl+z")
        await until(pilot, lambda: len(list_runs(logs)) == 2)
        await pilot.press("ctrl+z")
        assert any("trash is empty" in toast.message for toast in app._notifications)


async def test_an_active_run_cannot_be_deleted(app: Torchdeck, logs: Path) -> None:
    writer = reopen(made(logs))
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        page = app.screen
        await pilot.press("delete")
        await pilot.pause()
        assert app.screen is page
        assert any("is active" in toast.message for toast in app._notifications)
    writer.close()


async def test_tags_and_note_are_edited_apart(app: Torchdeck, logs: Path) -> None:
    folder = made(logs)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("t")
        await pilot.pause()
        app.screen.query_one(Input).value = " one  two "
        await pilot.press("enter")
        await until(pilot, lambda: read_notes(folder)[0] == ["one", "two"])
        await pilot.press("n")
        await pilot.pause()
        app.screen.query_one(Input).value = "a thought"
        await pilot.press("enter")
        await until(pilot, lambda: read_notes(folder) == (["one", "two"], "a thought"))
        await pilot.press("t")
        await pilot.pause()
        assert app.screen.query_one(Input).value == "one two"
        await pilot.press("escape")
        await pilot.pause()
        assert read_notes(folder) == (["one", "two"], "a thought")
