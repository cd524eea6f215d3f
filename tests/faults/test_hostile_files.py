"""Links, pipes, folders and sockets in the place of a run's files: refused, never waited for, never written through."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from example_runs import Example, make_study
from fault_counts import Faults
from polling import within

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.errors import InputError, LogsError, TorchdeckError
from torchdeck.core.events import CheckpointSaved, RunEvent, RunStarted
from torchdeck.core.results.device_samples import mean_utilization
from torchdeck.core.results.predictions import read_filters, read_predictions
from torchdeck.core.runs import checkpoint, manage
from torchdeck.core.runs.best_weights import best_weights
from torchdeck.core.runs.commands import FolderControl, send_command
from torchdeck.core.runs.index import RunIndex, find_run, list_runs
from torchdeck.core.runs.layout import CONSOLE
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.runs.writer import reopen
from torchdeck.core.studies.coordinators import register, request_stop
from torchdeck.core.studies.ledger import Ledger, hold_run
from torchdeck.core.studies.store import find_either, find_study, load_study, study_folders
from torchdeck.core.utils.files import open_to_append, write_atomically
from torchdeck.tui.terminal.captured_output import append_output

NOW = 1_800_000_000.0
RUN_FILES = (
    "run.json", "summary.json", "curves.json", "notes.json", "events.jsonl", "run.lock", "console.log", "checkpoints",
    "predictions.safetensors", "filters.safetensors", "control", "control/stop",
)  # fmt: skip
STUDY_FILES = (
    "study.json", "changes.jsonl", "study.lock", "optuna-journal.log", "parents", "parents/x.lock", "parents/x.workers",
    "control", "control/stop-x", "process.log",
)  # fmt: skip
KINDS = ("link", "dangling", "link to a folder", "pipe", "folder", "socket", "device")


class Outside:
    """A file and a folder that no reader or writer of logs has any business with."""

    def __init__(self, place: Path) -> None:
        self.file, self.folder, self.absent = place / "file", place / "folder", place / "absent"
        self.folder.mkdir(parents=True)
        self.file.write_bytes(b'{"min_reader": 1, "status": "completed", "tags": ["taken"]}')
        for name in ("stop", "pause", "step-00000001", ".step-00000009.tmp"):
            (self.folder / name).write_text("kept")
        self.before = self.state()

    def state(self) -> object:
        inner = sorted((path.name, path.read_bytes()) for path in self.folder.iterdir())
        return self.file.read_bytes(), inner, self.absent.exists()


def put(kind: str, path: Path, outside: Outside) -> None:
    """Put something else in the place of a file or folder."""
    path.parent.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"_{path.name}"))
    else:
        path.unlink(missing_ok=True)
    match kind:
        case "link":
            path.symlink_to(outside.file)
        case "dangling":
            path.symlink_to(outside.absent)
        case "link to a folder":
            path.symlink_to(outside.folder)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            os.chdir(path.parent)  # a socket's path has 107 bytes at most
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        case _:
            path.symlink_to("/dev/zero")


def tried(do: Callable[[], object]) -> None:
    """Do it; it may refuse with a message, or as a disk does where the caller knows to take that."""
    with suppress(TorchdeckError, OSError):
        do()


def use_run(logs: Path, folder: Path) -> None:
    """All that readers and writers do with a run."""
    rows = [*RunIndex(logs).rows(), *list_runs(logs)]
    assert {row.id for row in rows} <= {path.name for path in logs.iterdir()}
    load_record(folder)
    list(EventReader(folder).read())
    mean_utilization(folder)
    manage.read_notes(folder)
    append_output("printed", folder / CONSOLE)
    list(checkpoint.newest_first(folder / "checkpoints"))
    inbox = FolderControl(Control(), folder, iter(range(1000)).__next__)
    while inbox.take():
        pass
    for do in (
        lambda: read_predictions(folder, 10), lambda: read_filters(folder), lambda: best_weights(folder),
        lambda: find_run(logs, folder.name), lambda: find_either(logs, folder.name),
        lambda: send_command(folder, "stop"),
        lambda: manage.write_notes(folder, ["x"], "y"), lambda: reopen(folder).close(),
        lambda: checkpoint.save(folder / "checkpoints", 1, {}, {}),
    ):  # fmt: skip
        tried(do)


def use_study(logs: Path, folder: Path) -> None:
    """All that readers and writers do with a study."""
    study_folders(logs)
    for do in (
        lambda: load_study(folder), lambda: find_study(logs, "host"), lambda: work_on(folder),
        lambda: request_stop(folder), lambda: hold_run(folder, 0),
        lambda: append_output("printed", folder / "process.log"),
    ):  # fmt: skip
        tried(do)


def work_on(folder: Path) -> None:
    """Become the process of a study, and leave it."""
    with closing(Ledger(folder)) as ledger, ledger.locked():
        parent = register(folder, [], join=True)
        request_stop(folder)
        parent.take_stop()
        parent.unregister()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Go back to where the test began, whatever it changed to."""
    monkeypatch.chdir(Path.cwd())
    return monkeypatch.chdir


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_of_a_run_is_not_used(
    tmp_path: Path, home: Callable[[Path], None], faults: Faults, kind: str
) -> None:
    for number, name in enumerate(RUN_FILES):
        logs, outside = tmp_path / str(number) / "logs", Outside(tmp_path / str(number) / "outside")
        study = make_study(logs, [Example("a", epochs=2, hits=300)], tail="host")
        (folder,) = (path for path in logs.iterdir() if path != study)
        put(kind, folder / name, outside)
        home(tmp_path)
        with within(20):
            use_run(logs, folder)
        assert outside.state() == outside.before, name
    faults("hostile files", len(RUN_FILES))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_of_a_study_is_not_used(
    tmp_path: Path, home: Callable[[Path], None], faults: Faults, kind: str
) -> None:
    from torchdeck.core.studies.trial_queue import JOURNAL, TrialQueue  # optuna

    for number, name in enumerate(STUDY_FILES):
        logs, outside = tmp_path / str(number) / "logs", Outside(tmp_path / str(number) / "outside")
        folder = make_study(logs, [Example("a", epochs=2, hits=300)], tail="host")
        study = load_study(folder)
        put(kind, folder / name, outside)
        home(tmp_path)
        with within(20):
            use_study(logs, folder)
            if name == JOURNAL:
                with suppress(TorchdeckError, OSError):
                    TrialQueue(folder, study, 1)
        assert outside.state() == outside.before, name
    faults("hostile files", len(STUDY_FILES))


def test_a_pipe_that_is_opened_as_it_is_would_be_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AssertionError, match="it waits"), within(0.2):
        open(tmp_path / "pipe", "rb").close()


def test_a_link_that_is_opened_as_it_is_would_be_written_through(tmp_path: Path) -> None:
    outside = Outside(tmp_path / "outside")
    (tmp_path / "link").symlink_to(outside.file)
    with pytest.raises(OSError, match=r"symbolic links|Too many levels"):
        open_to_append(tmp_path / "link")
    write_atomically(tmp_path / "link", b"new")
    assert outside.state() == outside.before
    (tmp_path / "other").symlink_to(outside.file)
    with open(tmp_path / "other", "ab") as file:
        file.write(b"x")
    assert outside.state() != outside.before


def test_a_run_that_is_a_link_is_no_run(tmp_path: Path, faults: Faults) -> None:
    make_study(tmp_path / "elsewhere", [Example("a", epochs=2)], tail="host")
    (tmp_path / "logs").mkdir()
    for path in (tmp_path / "elsewhere").iterdir():
        (tmp_path / "logs" / path.name).symlink_to(path)
    names = [path.name for path in (tmp_path / "logs").iterdir()]
    assert list_runs(tmp_path / "logs") == RunIndex(tmp_path / "logs").rows() == study_folders(tmp_path / "logs") == []
    for name in names:
        with pytest.raises(InputError):
            find_run(tmp_path / "logs", name)
    faults("hostile files", len(names))


def test_a_logs_folder_that_is_a_link_is_a_logs_folder(tmp_path: Path) -> None:
    make_study(tmp_path / "elsewhere", [Example("a", epochs=2)], tail="host")
    (tmp_path / "logs").symlink_to(tmp_path / "elsewhere")
    assert len(list_runs(tmp_path / "logs")) == 1


def test_a_trash_that_is_a_link_takes_nothing(tmp_path: Path, faults: Faults) -> None:
    logs, outside = tmp_path / "logs", Outside(tmp_path / "outside")
    make_study(logs, [Example("a", epochs=2)], tail="host")
    (run,) = list_runs(logs)
    (logs / ".trash").symlink_to(outside.folder)
    faults("hostile files")
    with pytest.raises(LogsError, match="link"):
        manage.trash(run.folder)
    assert outside.state() == outside.before
    assert manage.trash_ids(logs) == []


NAMES = [
    "../x", "../../etc/passwd", "/etc/passwd", "x/../../y", ".", "..", "", " ", "a\x00b", "a" * 300, "A" * 20, "a/b",
    "\u202ex", "\u05d0\u05d1", "~", "~root", "*", "?", "[a]", "a\nb", "-x", "--json", ".hidden", "run.json",
    "x/", "./x", "\udcff", "con", "a%2e%2e", "@", "@@last", "@best", "@best:", "@best:../x", "..@last",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_reference_leads_out_of_the_logs_folder(tmp_path: Path, faults: Faults, name: str) -> None:
    logs = tmp_path / "logs"
    make_study(logs, [Example("a", epochs=2)], tail="host")
    make_study(tmp_path, [Example("b", epochs=2)], tail="x")
    faults("hostile references")
    for find in (find_run, find_either, find_study):
        with pytest.raises(InputError):
            find(logs, name)


def test_a_study_names_no_run_outside_its_folder(tmp_path: Path, faults: Faults) -> None:
    folder = make_study(tmp_path / "logs", [Example("a", epochs=2), Example("b", begun=False)], tail="host")
    for path in (tmp_path / "logs").glob("*quickstart*"):
        path.rename(tmp_path / path.name)
        text = (folder / "study.json").read_text()
        (folder / "study.json").write_text(text.replace(f'"{path.name}"', f'"../{path.name}"'))
    faults("hostile references")
    assert [run.run_id for run in load_study(folder).runs] == [None, None]


def test_a_run_whose_checkpoints_are_a_link_begins_anew(
    small: Callable[..., ExperimentConfig],
    train: Callable[..., list[RunEvent]],
    go_on: Callable[..., list[RunEvent]],
    the_run: Callable[[], Path],
    tmp_path: Path,
    faults: Faults,
) -> None:
    control = Control()
    control.request("stop-after-epoch", "soon")
    train(small(), control)
    folder = the_run()
    (folder / "checkpoints").rename(tmp_path / "elsewhere")
    (folder / "checkpoints").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.joinpath("elsewhere").rglob("*"))
    events = go_on(folder)
    faults("hostile files")
    assert next(event.resumed_from for event in events if isinstance(event, RunStarted)) == 0
    assert not any(isinstance(event, CheckpointSaved) for event in events)
    assert sorted(tmp_path.joinpath("elsewhere").rglob("*")) == before
