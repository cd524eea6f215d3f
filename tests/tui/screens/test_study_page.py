"""The list of studies and the page of one, driven as a person does; no study trains here but in the last test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from app_driver import Lives, screen_text, until
from example_runs import Example, make_study
from textual.pilot import Pilot
from textual.widgets import Button, Input

from torchdeck import presets
from torchdeck.core.errors import BusyError
from torchdeck.core.runs.index import list_runs
from torchdeck.core.studies.coordinators import register
from torchdeck.core.studies.store import create_study, load_study, study_folders
from torchdeck.presets.study_presets import grid_study
from torchdeck.tui.analyze.page import AnalyzePage
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.compare.page import ComparePage
from torchdeck.tui.runs.page import RunsPage
from torchdeck.tui.state.messages import StudyRequested, WatchRequested
from torchdeck.tui.state.study_processes import StudyProcesses
from torchdeck.tui.state.study_reader import StudyReader
from torchdeck.tui.studies.list_page import StudiesPage
from torchdeck.tui.studies.page import StudyPage
from torchdeck.tui.widgets.text_table import TextTable

MakeApp = Callable[..., Torchdeck]
HIGH, LOW = (
    Example("lr=0.01", ("optimizer.lr=0.01",), hits=355),
    Example("lr=0.1", ("optimizer.lr=0.1",), 0.6, hits=200),
)
MEMORY = Example("lr=9", ("optimizer.lr=9",), epochs=1, state="failed", reason="out of memory")
WAITS = Example("lr=2", ("optimizer.lr=2",), state="waiting", begun=False)


class Starts:
    """Notes the commands that would start processes."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []
        self.process = Lives()
        self.error: OSError | None = None

    def __call__(self, command: Sequence[str], log: Path) -> Lives:
        if self.error:
            raise self.error
        self.commands.append(command)
        self.log = log
        return self.process


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path, starts: Starts) -> Torchdeck:
    (tmp_path / "logs").mkdir()
    made = make_app(page="runs")
    made.workspace.processes = StudyProcesses(starts)
    return made


def seen(app: Torchdeck, *words: str) -> Callable[[], bool]:
    """Whether the screen shows all of these."""
    return lambda: all(word in screen_text(app) for word in words)


async def opened(app: Torchdeck, pilot: Pilot[None], *words: str) -> None:
    """From Runs to the first study of the list."""
    await until(pilot, lambda: isinstance(app.screen, RunsPage) and app.screen.ready)
    await pilot.press("S")
    await until(pilot, seen(app, "ready to start", "An example"))
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, StudyPage))
    await until(pilot, seen(app, "An example", *words))


async def say(app: Torchdeck, pilot: Pilot[None], text: str) -> None:
    """Answer the question for a text."""
    await until(pilot, lambda: app.screen.query("#dialog-input"))
    app.screen.query_one("#dialog-input", Input).value = text
    await pilot.press("enter")


async def test_a_study_shows_its_runs_its_charts_and_what_they_say(app: Torchdeck, tmp_path: Path) -> None:
    make_study(tmp_path / "logs", [HIGH, LOW, MEMORY, WAITS])
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot, "4 runs, 2 completed, 1 failed", "8/8", "96.79 %", "Test accuracy", "reported")
        assert "out of memory" in screen_text(app)
        await pilot.press("v")
        await until(pilot, seen(app, "Findings", "lr=0.01 reached the highest test accuracy", "more than noise"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, StudiesPage))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RunsPage))


async def test_where_there_is_room_the_words_stand_beside_the_charts(app: Torchdeck, tmp_path: Path) -> None:
    make_study(tmp_path / "logs", [HIGH, LOW])
    async with app.run_test(size=(200, 60)) as pilot:
        await opened(app, pilot, "reached the highest", "Test accuracy", "Train loss", "Cost of each run")


async def test_each_result_that_a_study_shows_can_be_come_to(app: Torchdeck, tmp_path: Path) -> None:
    shows = ["table", "curves", "landscape", "regularization", "time-to-accuracy"]
    make_study(tmp_path / "logs", [HIGH, LOW], shows=shows)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot, "Train accuracy", "view 1 of 7")
        for title in ("Test accuracy", "Gap:", "Loss of every step", "Train loss", "training time", "Findings"):
            await pilot.press("v")
            await until(pilot, seen(app, title))
        await pilot.press("V")
        await until(pilot, seen(app, "training time"))


async def test_a_run_of_a_study_leads_to_its_study_and_a_lone_one_does_not(app: Torchdeck, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "logs", [HIGH])
    (run,) = list_runs(tmp_path / "logs")
    header = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(header | {"study": {"id": folder.name, "number": 0}}))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, seen(app, "1 of 1"))
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, StudyPage) and seen(app, "An example")())
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, RunsPage))
        (run.folder / "run.json").write_text(json.dumps(header | {"study": {"id": "../x", "number": 0}}))
        app.screen.read()
        await pilot.press("s")
        await until(pilot, seen(app, "belongs to no study"))


async def test_live_leads_to_the_study_of_the_run_it_shows(app: Torchdeck, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "logs", [HIGH])
    (run,) = list_runs(tmp_path / "logs")
    header = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(header | {"study": {"id": folder.name, "number": 0}}))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, seen(app, "1 of 1"))
        await pilot.press("w", "2", "S")
        await until(pilot, lambda: isinstance(app.screen, StudiesPage))
        app.post_message(WatchRequested(run.folder))
        await until(pilot, lambda: app.current_mode == "live" and app.workspace.feed and app.workspace.feed.over)
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, StudyPage) and seen(app, "An example")())


async def test_enter_opens_a_run_and_c_compares_all(app: Torchdeck, tmp_path: Path) -> None:
    make_study(tmp_path / "logs", [HIGH, LOW, MEMORY])
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot, "8/8")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AnalyzePage))
        assert app.workspace.chosen == list_runs(tmp_path / "logs")[0].id
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, StudyPage))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ComparePage))
        assert len(app.workspace.marked) == 3


async def test_marked_runs_are_compared_alone(app: Torchdeck, tmp_path: Path) -> None:
    make_study(tmp_path / "logs", [HIGH, LOW, MEMORY])
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot, "8/8")
        await pilot.press("space", "down", "space")
        await until(pilot, seen(app, "2 marked"))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ComparePage))
        assert app.workspace.marked == [row.id for row in list_runs(tmp_path / "logs")][:2]


async def test_an_unfinished_study_goes_on_where_one_says(app: Torchdeck, tmp_path: Path, starts: Starts) -> None:
    folder = make_study(tmp_path / "logs", [HIGH, WAITS])
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await opened(app, pilot, "unfinished", "Resume")
        await pilot.press("r")
        await say(app, pilot, "cpu:none")
        await until(pilot, seen(app, "'cpu:none' is not a list of devices"))
        assert not starts.commands
        await pilot.press("r")
        await say(app, pilot, "cpu:2")
        await until(pilot, seen(app, "starting: 2 runs"))
        (command,) = starts.commands
        assert command[-1] == "cpu:2"
        assert folder.name in command
        assert "--retry-failed" not in command


async def test_why_the_process_of_a_study_ended_is_told(app: Torchdeck, tmp_path: Path, starts: Starts) -> None:
    make_study(tmp_path / "logs", [HIGH, WAITS])
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot, "unfinished")
        await pilot.press("r")
        await say(app, pilot, "auto")
        await until(pilot, lambda: starts.commands)
        starts.log.write_text("Traceback\nModuleNotFoundError: no \x1b[31moptuna\n")
        starts.process.code = 1
        await until(pilot, seen(app, "ended with exit code 1", "no [31moptuna", "unfinished"))


async def test_a_process_that_cannot_be_started_is_told(app: Torchdeck, tmp_path: Path, starts: Starts) -> None:
    make_study(tmp_path / "logs", [HIGH, WAITS])
    starts.error = PermissionError(13, "Permission denied")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await opened(app, pilot, "unfinished")
        await pilot.press("r")
        await say(app, pilot, "auto")
        await until(pilot, seen(app, "Permission denied"))


async def test_failed_runs_are_tried_again_on_request(app: Torchdeck, tmp_path: Path, starts: Starts) -> None:
    make_study(tmp_path / "logs", [HIGH, MEMORY])
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot, "1 failed")
        await pilot.press("r")
        assert not app.screen.query("#dialog-input")
        await pilot.press("R")
        await say(app, pilot, "auto")
        await until(pilot, lambda: starts.commands)
        assert starts.commands[0][-1] == "--retry-failed"


async def test_a_running_study_stops_when_that_is_confirmed(app: Torchdeck, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "logs", [HIGH, WAITS])
    parent = register(folder, [], join=False)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await opened(app, pilot, "running: 2 runs", "Stop")
            await pilot.press("x")
            await until(pilot, lambda: app.screen.query("#answer-stop"))
            asked = folder / "control" / f"stop-{parent.name}"
            assert not asked.exists()
            app.screen.query_one("#answer-stop", Button).press()
            await until(pilot, asked.exists)
    finally:
        parent.unregister()


async def test_a_declared_study_is_made_and_started_from_the_list(
    app: Torchdeck, tmp_path: Path, starts: Starts
) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunsPage) and app.screen.ready)
        await pilot.press("S")
        await until(pilot, seen(app, "lenet-batch-size"))
        app.screen.query_one(TextTable).go_to("ready lenet-batch-size")
        await pilot.press("enter")
        await until(pilot, seen(app, "Start lenet-batch-size: 3 runs"))
        await say(app, pilot, "auto")
        await until(pilot, lambda: isinstance(app.screen, StudyPage) and seen(app, "starting: 3 runs")())
    (folder,) = study_folders(tmp_path / "logs")
    assert load_study(folder).name == "lenet-batch-size"
    assert folder.name in starts.commands[0]


async def test_a_damaged_study_is_listed_with_its_fault(app: Torchdeck, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "logs", [HIGH])
    (folder / "study.json").write_text("{")
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, RunsPage) and app.screen.ready)
        await pilot.press("S")
        await until(pilot, seen(app, "unreadable", "missing", "damaged"))


async def test_foreign_text_reaches_the_terminal_without_control_characters(app: Torchdeck, tmp_path: Path) -> None:
    evil = "[red]x[/] \x1b]0;y\x07\x9b31m\u202e"
    bad = Example(evil, ("optimizer.lr=0.01",), state="failed", reason=evil)
    make_study(tmp_path / "logs", [bad, HIGH], title=f"An example {evil}", summary=evil, reported=[evil])
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot, "[red]x[/]")
        shown = [screen_text(app)]
        await pilot.press("v")
        await until(pilot, seen(app, "Findings"))
        shown.append(screen_text(app))
    assert not any(sign in text for text in shown for sign in "\x1b\x07\x9b\u202e")


def test_a_finished_run_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchdeck.tui.state.study_reader

    folder = make_study(tmp_path, [HIGH, LOW])
    reader, looked = StudyReader(folder), list[int]()
    read = torchdeck.tui.state.study_reader.read_result_row

    def noted(run: object, *about: object) -> object:
        looked.append(run.number)  # type: ignore[attr-defined]
        return read(run, *about)  # type: ignore[arg-type]

    monkeypatch.setattr(torchdeck.tui.state.study_reader, "read_result_row", noted)
    first = reader.read()
    assert reader.read() is first
    assert looked == [0, 1]
    content = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(content | {"title": "Another"}))
    assert reader.read().study.title == "Another"
    assert looked == [0, 1]


async def test_the_report_of_a_study_is_written_into_its_folder(app: Torchdeck, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = make_study(tmp_path / "logs", [HIGH, LOW])
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await opened(app, pilot, "8/8")
        await pilot.press("o")
        await until(pilot, seen(app, "Report written to"))
    assert "<html" in (folder / "report.html").read_text()


async def test_without_matplotlib_the_mend_is_told(
    app: Torchdeck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    make_study(tmp_path / "logs", [HIGH, LOW])
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await opened(app, pilot, "8/8")
        await pilot.press("o")
        await until(pilot, seen(app, "--extra report"))


async def test_a_search_says_how_much_each_setting_mattered(app: Torchdeck, tmp_path: Path) -> None:
    search = {
        "space": {"optimizer.lr": {"kind": "log", "low": 0.001, "high": 10.0}}, "trials": 9, "base": {},
        "importance": {"optimizer.lr": 0.8},
    }  # fmt: skip
    pruned = Example("lr=1", ("optimizer.lr=1",), 1.2, 3, state="pruned", reason="worse than the median at epoch 3")
    make_study(tmp_path / "logs", [HIGH, LOW, pruned], kind="search", search=search)
    async with app.run_test(size=(200, 60)) as pilot:
        await opened(app, pilot, "9 runs, 2 completed, 1 pruned", "worse than the median", "Search")
        assert "80.0 %" in screen_text(app)


def test_one_process_at_a_time_works_on_a_study(tmp_path: Path) -> None:
    starts, folder = Starts(), make_study(tmp_path, [WAITS])
    processes = StudyProcesses(starts)
    processes.start(folder, tmp_path, "auto")
    with pytest.raises(BusyError, match="is being run"):
        processes.start(folder, tmp_path, "auto")
    starts.process.code = 75
    assert not processes.failure(folder)
    processes.start(folder, tmp_path, "auto")
    assert len(starts.commands) == 2


async def test_a_study_that_the_app_started_trains_in_a_process_of_its_own(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    tiny = ["training.epochs=2", "data.train_limit=128", "data.test_limit=64", "optimizer.lr=0.01,0.001"]
    folder = create_study(tmp_path / "logs", grid_study(presets.load("quickstart"), tiny), 1_800_000_000.0)
    app.workspace.processes.start(folder, tmp_path / "data", "cpu")
    async with app.run_test(size=(120, 40)) as pilot:
        app.post_message(StudyRequested(folder))
        await until(pilot, seen(app, "completed: 2 runs, 2 completed", "2/2"), 120)
        await until(pilot, lambda: not app.workspace.processes.is_starting(folder))
    assert not app.workspace.processes.failure(folder)


def test_every_key_of_the_pages_says_what_it_does() -> None:
    bindings = [*StudyPage.BINDINGS, *StudiesPage.BINDINGS]
    assert all(binding.description for binding in bindings)  # type: ignore[union-attr]
