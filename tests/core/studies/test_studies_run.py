"""Studies as a person runs them: real processes on the digits that come along."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from torchdeck.core.events import RunCompleted, RunStarted
from torchdeck.core.runs.reader import EventReader, follow, load_record
from torchdeck.core.studies.store import load_study

pytestmark = pytest.mark.usefixtures("forked_programs")

Line = dict[str, Any]
TINY = ("training.epochs=2", "data.train_limit=128", "data.test_limit=64", "training.batch_size=32")
LONG = ("training.epochs=100000", *TINY[1:])


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")}
    return {**kept, "TORCHDECK_LOGS": str(folder / "logs"), "TORCHDECK_DATA": str(folder / "data"), "COLUMNS": "200"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "torchdeck.tui.cli", *arguments]


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", Iterator[Line]]]:
    """A study as it runs, and its JSON lines."""
    with subprocess.Popen(
        command(*arguments, "--json"), stdout=subprocess.PIPE, text=True, env=environment(folder)
    ) as process:
        assert process.stdout
        yield process, (json.loads(line) for line in process.stdout)


def finished(folder: Path, *arguments: str) -> tuple[int, list[Line]]:
    """A study run to its end: its exit code and its JSON lines."""
    with started(folder, *arguments) as (process, lines):
        heard = list(lines)
    return process.returncode, heard


def torchdeck(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(folder), timeout=120, check=False
    )


def the_study(folder: Path) -> Path:
    (found,) = (path.parent for path in (folder / "logs").glob("*/study.json"))
    return found


def run_folders(folder: Path) -> dict[int, Path]:
    """The run directories by the number that their own run.json gives them; each number once."""
    numbered: dict[int, Path] = {}
    for path in (folder / "logs").glob("*/run.json"):
        study = json.loads(path.read_text())["study"]
        assert study["id"] == the_study(folder).name
        assert study["number"] not in numbered
        numbered[study["number"]] = path.parent
    return numbered


def endings(run: Path) -> list[str]:
    return [event.status for event in EventReader(run).read() if isinstance(event, RunCompleted)]


def trial_states(folder: Path) -> Counter[str]:
    """How many trials the queue has in each state."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(the_study(folder) / "optuna-journal.log")))
    (name,) = optuna.get_all_study_names(storage)
    return Counter(trial.state.name for trial in optuna.load_study(study_name=name, storage=storage).trials)


def said(kind: str) -> Callable[[Line], bool]:
    return lambda line: line["kind"] == "RunSaid" and line["event"]["kind"] == kind


def told(kind: str) -> Callable[[Line], bool]:
    return lambda line: line["kind"] == kind


def until(lines: Iterator[Line], wanted: Callable[[Line], bool]) -> Line:
    """The first line that is wanted; those before it are read too."""
    return next(filter(wanted, lines))


def test_a_grid_runs_every_combination_once_and_a_second_call_repeats_nothing(tmp_path: Path) -> None:
    request = ("sweep", "quickstart", "optimizer.lr=0.001,0.01", *TINY, "--devices", "cpu:2")
    code, lines = finished(tmp_path, *request)
    assert code == 0
    assert lines[-1]["runs"]["completed"] == 2
    study = load_study(the_study(tmp_path))
    assert [dict(run.overrides) for run in study.runs] == [{"optimizer.lr": 0.001}, {"optimizer.lr": 0.01}]
    for number, folder in run_folders(tmp_path).items():
        header = json.loads((folder / "run.json").read_text())
        assert header["config"]["optimizer"]["lr"] == study.runs[number].overrides["optimizer.lr"]
        assert (header["config"]["training"]["device"], study.runs[number].run_id) == ("cpu", folder.name)
        assert study.runs[number].place == f"cpu {number + 1} on {os.uname().nodename}"
    code, lines = finished(tmp_path, *request)
    assert (code, [line["kind"] for line in lines]) == (0, ["StudyStarted", "StudyEnded"])
    status = torchdeck(tmp_path, "study-status", "@last", "--json")
    assert json.loads(status.stdout)["table"][1]["best"] > 0


@pytest.mark.parametrize(
    ("wanted", "values"),
    [(told("RunBegan"), "0.01,0.1"), (said("CheckpointSaved"), "0.01,0.1"), (told("RunEnded"), "0.001,0.01,0.1")],
    ids=["before a directory", "at a checkpoint", "after a run"],
)
def test_a_killed_study_goes_on_where_it_stood(tmp_path: Path, wanted: Callable[[Line], bool], values: str) -> None:
    request = ("sweep", "quickstart", f"optimizer.lr={values}", *TINY, "--devices", "cpu:2")
    with started(tmp_path, *request) as (process, lines):
        until(lines, wanted)
        process.send_signal(signal.SIGKILL)
    done = {number for number, run in run_folders(tmp_path).items() if "completed" in endings(run)}
    code, lines_again = finished(tmp_path, *request)
    assert code == 0
    assert not done & {line["number"] for line in lines_again if line["kind"] == "RunBegan"}
    runs = run_folders(tmp_path)
    assert sorted(runs) == list(range(len(values.split(","))))
    for run in runs.values():
        assert endings(run).count("completed") == 1
        assert [epoch.epoch for epoch in load_record(run).epochs] == [1, 2]
    assert trial_states(tmp_path)["COMPLETE"] == len(runs)
    assert trial_states(tmp_path)["RUNNING"] == 0


def test_a_killed_study_leaves_no_run_behind_that_trains_on(tmp_path: Path) -> None:
    with started(tmp_path, "sweep", "quickstart", "optimizer.lr=0.001,0.01", *LONG) as (process, lines):
        until(lines, said("EpochCompleted"))
        process.send_signal(signal.SIGKILL)
    *_, last = follow(run_folders(tmp_path)[0])
    assert isinstance(last, RunCompleted)
    assert (last.status, last.reason) == ("stopped", "the process that started the run is gone")


def test_a_run_whose_process_was_killed_is_a_failed_trial_and_goes_on_in_its_directory(tmp_path: Path) -> None:
    request = ("sweep", "quickstart", "optimizer.lr=0.001,0.01", "training.epochs=25", *TINY[1:], "--devices", "cpu:2")
    with started(tmp_path, *request) as (process, lines):
        line = until(lines, lambda line: said("CheckpointSaved")(line) and line["number"] == 0)
        owner = json.loads((tmp_path / "logs" / line["run_id"] / "run.lock").read_text())
        os.kill(owner["pid"], signal.SIGKILL)
        ended = until(lines, told("RunEnded"))
        assert (ended["state"], ended["number"]) == ("stopped", 0)
        assert "killed by SIGKILL; tried again" in ended["reason"]
        began = until(lines, lambda line: line["kind"] == "RunBegan" and line["number"] == 0)
        assert (began["run_id"], began["resumed"]) == (line["run_id"], True)
        list(lines)
    assert process.returncode == 0
    attempts = [event for event in EventReader(run_folders(tmp_path)[0]).read() if isinstance(event, RunStarted)]
    assert attempts[1].resumed_from
    assert trial_states(tmp_path) == {"COMPLETE": 2, "FAIL": 1}


FAILING = """
preset = "quickstart"

[overrides]
"training.epochs" = 2
"data.train_limit" = 128
"training.batch_size" = 8

[[runs]]
label = "good"

[[runs]]
label = "too large"
overrides = { "training.batch_size" = 5000 }

[[runs]]
label = "diverges"
overrides = { "optimizer.name" = "sgd", "optimizer.lr" = 100.0 }
"""


def test_a_failing_configuration_is_a_row_with_its_reason_while_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FAILING)
    code, lines = finished(tmp_path, "study", str(tmp_path / "mine.toml"), "--devices", "cpu:2")
    assert code == 1
    rows = {line["number"]: line for line in lines if line["kind"] == "RunEnded"}
    assert [rows[number]["state"] for number in range(3)] == ["completed", "failed", "failed"]
    assert "more than the 128 training images" in rows[1]["reason"]
    assert "diverged at step" in rows[2]["reason"]
    assert sorted(run_folders(tmp_path)) == [0, 2]
    name = the_study(tmp_path).name
    code, lines = finished(tmp_path, "study", name)
    assert (code, len(lines)) == (1, 2)
    code, lines = finished(tmp_path, "study", name[-4:], "--retry-failed", "--devices", "cpu:2")
    assert {line["number"] for line in lines if line["kind"] == "RunBegan"} == {1, 2}
    assert (code, sorted(run_folders(tmp_path))) == (1, [0, 2])


def test_a_search_on_two_slots_prunes_in_words_and_matches_its_run_directories(tmp_path: Path) -> None:
    space = ("optimizer.lr=choice(0.003,1e-9)", "training.label_smoothing=uniform(0,0.1)")
    code, _ = finished(
        tmp_path, "search", "quickstart", *space, "training.epochs=8", "--trials", "5", "--devices", "cpu:2"
    )
    assert code == 0
    study, runs = load_study(the_study(tmp_path)), run_folders(tmp_path)
    assert {run.number: run.run_id for run in study.runs} == {number: folder.name for number, folder in runs.items()}
    assert sorted(runs) == list(range(5))
    states = Counter(run.state for run in study.runs)
    assert trial_states(tmp_path) == Counter(COMPLETE=states["completed"], PRUNED=states["pruned"])
    pruned = [run for run in study.runs if run.state == "pruned"]
    assert pruned
    assert all(run.reason.startswith("worse than the median at epoch ") for run in pruned)
    assert all(run.reason.endswith(" points") for run in pruned)
    for run in study.runs:
        header = json.loads((runs[run.number] / "run.json").read_text())
        assert header["config"]["optimizer"]["lr"] == run.overrides["optimizer.lr"]


def test_a_study_is_one_process_s_and_is_stopped_by_another(tmp_path: Path) -> None:
    with started(tmp_path, "sweep", "quickstart", "optimizer.lr=0.001,0.01", *LONG) as (process, lines):
        until(lines, said("EpochCompleted"))
        assert json.loads(torchdeck(tmp_path, "study-status", "@last", "--json").stdout)["status"] == "running"
        second = torchdeck(tmp_path, "study", "@last")
        assert second.returncode == 3
        assert "is active in process" in second.stderr
        assert torchdeck(tmp_path, "study-stop", "@last").returncode == 0
        last = list(lines)[-1]
    assert process.returncode == 75
    assert (last["outcome"], last["runs"]["stopped"], last["runs"]["waiting"]) == ("stopped", 1, 1)
    record = load_record(run_folders(tmp_path)[0])
    assert (record.status, record.reason) == ("stopped", "requested by another process")
    assert record.checkpoints[-1].step == record.step
    again = torchdeck(tmp_path, "study-stop", "@last")
    assert again.returncode == 2
    assert "torchdeck study " in again.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_runs_with_checkpoints(tmp_path: Path, number: int, code: int) -> None:
    with started(tmp_path, "sweep", "quickstart", "optimizer.lr=0.001,0.01", *LONG) as (process, lines):
        until(lines, said("EpochCompleted"))
        process.send_signal(number)
        list(lines)
    assert process.returncode == code
    record = load_record(run_folders(tmp_path)[0])
    assert (record.status, record.checkpoints[-1].step) == ("stopped", record.step)


def test_a_time_budget_stops_the_study_and_the_next_call_goes_on(tmp_path: Path) -> None:
    code, lines = finished(tmp_path, "sweep", "quickstart", "optimizer.lr=0.001,0.01", *LONG, "--budget", "5s")
    assert code == 75
    assert lines[-1]["reason"] == "the time budget is used up"
    assert lines[-1]["runs"]["waiting"] >= 1
    assert lines[-1]["runs"]["running"] == 0
