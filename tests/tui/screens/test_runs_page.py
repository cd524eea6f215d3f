"""The page of runs as a person drives it, over run directories as training leaves them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Input, Static

import torchdeck.tui.app.app
from torchdeck.core.config import to_plain
from torchdeck.core.runs.index import RunIndex
from torchdeck.core.runs.writer import claim, reopen
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.runs.page import RunsPage
from torchdeck.tui.runs.run_table import RunTable
from torchdeck.tui.state.messages import CopyRequested, ModeRequested, ResumeRequested, ReuseRequested, WatchRequested
from torchdeck.tui.state.preferences import Preferences
from torchdeck.tui.state.refresh_rates import RefreshRates
from torchdeck.tui.state.workspace import Workspace
from torchdeck.tui.summaries.run_columns import Order, fitting, in_order

NOW = 1_000_000.0
BASE: dict[str, Any] = {
    "data": {"name": "digits"},
    "model": {"name": "lenet"},
    "optimizer": {"name": "adam", "lr": 0.002},
    "training": {"epochs": 10, "batch_size": 64},
}


def run_id(four: str) -> str:
    return f"20260101-000000-x-{four}"


def a_run(logs: Path, four: str, *, accuracy: float | None = 0.5, status: str = "completed", **changes: Any) -> Path:
    """A finished run's directory; `changes` go into its run.json."""
    made = 1_000.0 * (1 + len(list(logs.iterdir()) if logs.is_dir() else []))
    header = {"preset": "quickstart", "name": "", "created": made, "config": BASE, **changes}
    writer = claim(logs, run_id(four), header)
    figures = {} if accuracy is None else {"test/accuracy": accuracy, "test/loss": 1 - accuracy}
    summary = {"status": status, "epoch": 3, "best": figures, "final": figures, "train_seconds": 12.5}
    (writer.folder / "summary.json").write_text(json.dumps(summary))
    writer.close()
    return writer.folder


class Driven(Torchdeck):
    """The app, which notes what the page asks of it and does nothing about it."""

    CSS_PATH = Path(torchdeck.tui.app.app.__file__).with_name("app.tcss")

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace, refresh=RefreshRates(0.25, 0.05))
        self.asked: list[Message] = []

    def _note(self, message: Message) -> None:
        self.asked.append(message)
        message.prevent_default()

    def on_watch_requested(self, message: WatchRequested) -> None:
        self._note(message)

    def on_resume_requested(self, message: ResumeRequested) -> None:
        self._note(message)

    async def on_reuse_requested(self, message: ReuseRequested) -> None:
        self._note(message)

    def on_mode_requested(self, message: ModeRequested) -> None:
        self._note(message)

    def on_copy_requested(self, message: CopyRequested) -> None:
        self._note(message)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def app(logs: Path, tmp_path: Path) -> Driven:
    return Driven(Workspace(logs, tmp_path / "data", Preferences(), lambda: NOW, RunIndex(logs)))


async def opened(pilot: Pilot[None]) -> RunsPage:
    await pilot.pause()
    pilot.app.switch_mode("runs")
    await pilot.pause()
    await pilot.pause()
    assert isinstance(pilot.app.screen, RunsPage)
    return pilot.app.screen


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        await pilot.pause(0.02)
    raise AssertionError("it never came true")


def shown(page: RunsPage) -> list[str]:
    """The last four characters of the runs in the table, from top to bottom."""
    return [str(row.key.value)[-4:] for row in page.query_one(RunTable).ordered_rows]


def line(page: RunsPage, four: str) -> str:
    return " ".join(cell.plain for cell in page.query_one(RunTable).get_row(run_id(four)))


def picture(app: Torchdeck) -> str:
    return "\n".join("".join(part.text for part in strip) for strip in app.screen._compositor.render_strips())


async def test_all_runs_are_listed_the_newest_first(app: Driven, logs: Path) -> None:
    for four, reached in (("aaaa", 0.61), ("bbbb", None), ("cccc", 0.8)):
        a_run(logs, four, accuracy=reached)
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        assert shown(page) == ["cccc", "bbbb", "aaaa"]
        assert "80.00 %" in line(page, "cccc")
        assert "3/10" in line(page, "cccc")
        assert page.query_one("#runs-panel").border_subtitle == "3 of 3"


@pytest.mark.parametrize(("width", "least", "most"), [(76, 6, 6), (116, 9, 10), (132, 10, 12), (196, 14, 16)])
def test_a_width_has_the_columns_that_fit(width: int, least: int, most: int) -> None:
    found = fitting(width)
    assert least <= len([column for column, _ in found if column.title]) <= most
    assert sum(room + 2 for _, room in found) <= width


async def test_an_empty_folder_says_how_to_begin(app: Driven) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        assert "No runs yet" in picture(app)


async def test_a_filter_narrows_the_list_and_is_kept(app: Driven, logs: Path) -> None:
    a_run(logs, "aaaa", name="first")
    a_run(logs, "bbbb", name="second")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        await pilot.press("slash", *"first", "escape")
        await pilot.pause()
        assert shown(page) == ["aaaa"]
        assert page.query_one("#runs-panel").border_subtitle == "1 of 2"
        assert app.workspace.preferences.text("runs.filter") == "first"
        assert isinstance(page.focused, RunTable)


async def test_a_filter_that_is_not_understood_is_told_and_the_last_good_one_stays(app: Driven, logs: Path) -> None:
    a_run(logs, "aaaa", name="first")
    a_run(logs, "bbbb", name="second")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        page.query_one("#filter", Input).value = "first"
        await pilot.pause()
        page.query_one("#filter", Input).value = "first nonsense<3"
        await pilot.pause()
        assert "nonsense" in str(page.query_one("#filter-error", Static).content)
        assert page.query_one("#filter-error").display
        assert shown(page) == ["aaaa"]
        page.query_one("#filter", Input).value = "nothing"
        await pilot.pause()
        assert "No run matches" in picture(app)
        assert not page.query_one("#filter-error").display


async def test_keys_and_header_sort(app: Driven, logs: Path) -> None:
    for four, reached in (("aaaa", 0.5), ("bbbb", None), ("cccc", 0.7), ("dddd", 0.6)):
        a_run(logs, four, accuracy=reached)
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        for _ in range(20):
            if app.workspace.preferences.text("runs.sort") == "best":
                break
            await pilot.press("o")
        assert shown(page) == ["cccc", "dddd", "aaaa", "bbbb"]
        await pilot.press("r")
        assert shown(page) == ["aaaa", "dddd", "cccc", "bbbb"]
        await pilot.pause()
        assert "best acc▲" in picture(app)
        await pilot.click(RunTable, offset=(8, 0))
        await pilot.pause()
        assert app.workspace.preferences.text("runs.sort") == "run"
        assert shown(page) == ["aaaa", "bbbb", "cccc", "dddd"]


def test_a_sort_key_of_old_does_no_harm() -> None:
    assert in_order([], Order("gone", True)) == []


async def test_the_cursor_stays_on_its_run_when_others_come(app: Driven, logs: Path) -> None:
    a_run(logs, "aaaa")
    a_run(logs, "bbbb")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        await pilot.press("down")
        assert page.query_one(RunTable).run_id == run_id("aaaa")
        a_run(logs, "cccc")
        await until(pilot, lambda: shown(page) == ["cccc", "bbbb", "aaaa"])
        assert page.query_one(RunTable).run_id == run_id("aaaa")


async def test_at_most_eight_runs_are_marked(app: Driven, logs: Path) -> None:
    for number in range(10):
        a_run(logs, f"aaa{number}")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        for _ in range(9):
            await pilot.press("space", "down")
        assert len(app.workspace.marked) == 8
        assert page.query_one("#runs-panel").border_subtitle == "10 of 10 · 8 marked"
        assert "◉" in line(page, "aaa9")
        await until(pilot, lambda: any("unmark one" in toast.message for toast in app._notifications))
        await pilot.press("home")
        page.query_one(RunTable).go_to(run_id("aaa9"))
        await pilot.press("space")
        assert "◉" not in line(page, "aaa9")


async def test_compare_asks_for_a_second_run(app: Driven, logs: Path) -> None:
    a_run(logs, "aaaa")
    a_run(logs, "bbbb")
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("c")
        assert app.workspace.marked == [run_id("bbbb")]
        assert any("mark another" in toast.message for toast in app._notifications)
        assert app.asked == []
        await pilot.press("down", "c")
        await pilot.pause()
        assert app.workspace.marked == [run_id("bbbb"), run_id("aaaa")]
        assert [getattr(message, "mode", "") for message in app.asked] == ["compare"]


async def test_reuse_resume_copy_and_analyze_post_what_they_are_about(app: Driven, logs: Path) -> None:
    folder = a_run(logs, "aaaa", status="stopped")
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("u", "R", "k", "enter")
        await until(pilot, lambda: len(app.asked) == 4)
        reuse, resume, copy, mode = app.asked
        assert isinstance(reuse, ReuseRequested)
        assert (reuse.preset, reuse.config) == ("quickstart", BASE)
        assert isinstance(resume, ResumeRequested)
        assert resume.folder == folder
        assert isinstance(copy, CopyRequested)
        assert copy.text == run_id("aaaa")
        assert isinstance(mode, ModeRequested)
        assert (mode.mode, app.workspace.chosen) == ("analyze", run_id("aaaa"))


async def test_what_ended_well_is_not_resumed_and_what_is_over_not_watched(app: Driven, logs: Path) -> None:
    a_run(logs, "aaaa")
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await pilot.press("R", "w")
        await pilot.pause()
        assert app.asked == []
        told = [toast.message for toast in app._notifications]
        assert any("nothing to resume" in text for text in told)
        assert any("can be watched" in text for text in told)


async def test_a_running_run_is_watched_and_its_row_follows_it(app: Driven, logs: Path) -> None:
    folder = a_run(logs, "aaaa", accuracy=0.1, status="running")
    a_run(logs, "bbbb")
    writer = reopen(folder)
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        assert "●" in line(page, "aaaa")
        table = page.query_one(RunTable)
        other = table.get_row(run_id("bbbb"))
        summary = json.loads((folder / "summary.json").read_text())
        summary["epoch"], summary["best"]["test/accuracy"] = 4, 0.77
        (folder / "summary.json").write_text(json.dumps(summary))
        page.read()
        assert "4/10" in line(page, "aaaa")
        assert "77.00 %" in line(page, "aaaa")
        assert all(one is two for one, two in zip(other, table.get_row(run_id("bbbb")), strict=True))
        await pilot.press("down", "w", "enter")
        await until(pilot, lambda: len(app.asked) == 2)
        assert all(isinstance(message, WatchRequested) and message.folder == folder for message in app.asked)
    writer.close()


@pytest.mark.parametrize(
    "content", ["", "{", '{"min_reader": 99, "preset": "later"}', '{"min_reader": 1, "config": 3}']
)
async def test_a_damaged_or_newer_log_is_a_row_and_breaks_nothing(app: Driven, logs: Path, content: str) -> None:
    a_run(logs, "aaaa")
    (a_run(logs, "bbbb") / "run.json").write_text(content)
    (a_run(logs, "cccc") / "summary.json").write_text("[1, 2")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        assert sorted(shown(page)) == ["aaaa", "bbbb", "cccc"]
        for key in ("o", "o", "o", "o", "r", "down", "space", "down", "u", "R", "t", "escape"):
            await pilot.press(key)
        if "config" not in content:
            assert "?" in line(page, "bbbb")
            page.query_one(RunTable).go_to(run_id("bbbb"))
            await pilot.pause()
            assert "unreadable" in picture(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_hostile_names_are_only_text(app: Driven, logs: Path, size: tuple[int, int]) -> None:
    bad = "[red]x[/] \x1b[31mX\x07‮[/nope]"
    config = {**BASE, "model": {"name": bad}, "optimizer": {"name": bad, "lr": bad}}
    folder = a_run(logs, "aaaa", name=bad, preset=bad, tags=[bad], config=config, reported=bad)
    (folder / "notes.json").write_text(json.dumps({"tags": [bad], "note": bad}))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "reason": bad, "device": bad, "status": "stopped"}))
    async with app.run_test(size=size) as pilot:
        page = await opened(pilot)
        await pilot.pause(0.3)
        seen = picture(app)
        assert "[red]x[/]" in seen
        assert not {"\x1b", "\x07", "‮"} & set(seen + line(page, "aaaa"))
        for key in ("delete", "escape", "t", "escape", "n"):
            await pilot.press(key)
            await pilot.pause()
        assert not {"\x1b", "\x07", "‮"} & set(picture(app))


async def test_ascii_mode_draws_only_ascii(logs: Path, tmp_path: Path) -> None:
    for four, status in (("aaaa", "completed"), ("bbbb", "failed"), ("cccc", "stopped")):
        a_run(logs, four, status=status)
    workspace = Workspace(logs, tmp_path / "data", Preferences(), lambda: NOW, RunIndex(logs), marked=[run_id("aaaa")])
    app = Torchdeck(workspace, refresh=RefreshRates(0.25, 0.05), ascii_only=True)
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        await pilot.pause(0.3)
        for name in ("#runs-panel", "#detail"):
            box = page.query_one(name).region
            lines = picture(app).splitlines()[box.y : box.bottom]
            assert all(text[box.x : box.right].isascii() for text in lines)


async def test_a_real_run_shows_its_curve_and_details(
    app: Driven, small: Callable[..., Any], train: Callable[..., Any]
) -> None:
    train(small(), preset="quickstart", name="mine")
    async with app.run_test(size=(120, 40)) as pilot:
        page = await opened(pilot)
        await until(pilot, lambda: "train" in picture(app) and "images/s" in picture(app))
        assert "mine" in picture(app)
        assert "completed" in picture(app)
        app.workspace.marked.append("gone")
        await pilot.press("u")
        await until(pilot, lambda: bool(app.asked))
        found = app.asked[0]
        assert isinstance(found, ReuseRequested)
        assert found.config["optimizer"]["lr"] == to_plain(small())["optimizer"]["lr"]
        assert page.is_mounted


async def test_a_thousand_runs_open(app: Driven, logs: Path) -> None:
    first = a_run(logs, "0000")
    for number in range(1, 1000):
        shutil.copytree(first, logs / run_id(f"{number:04}"))
    async with app.run_test(size=(200, 60)) as pilot:
        began = time.perf_counter()
        page = await opened(pilot)
        await until(pilot, lambda: page.query_one(RunTable).row_count == 1000)
        print(f"opened in {time.perf_counter() - began:.2f} s")  # noqa: T201
        await pilot.press("end")
        await pilot.pause()
        assert page.query_one(RunTable).cursor_row == 999
        page.tick()
        assert page.query_one(RunTable).cursor_row == 999
