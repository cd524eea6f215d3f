"""Runs in processes of their own: started, watched, handed over, fought for, and left alone by who started them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from fault_counts import Faults
from polling import until
from pty_harness import Log, Terminals
from small_runs import only_run

from torchdeck import presets
from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import (
    CommandApplied,
    EpochCompleted,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    from_json,
)
from torchdeck.core.processes.launch import DetachedRun, resume_detached, start_detached
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.commands import send_and_wait, send_command
from torchdeck.core.runs.label import Label
from torchdeck.core.runs.reader import follow, load_record
from torchdeck.core.session.session import SessionContext, run

pytestmark = pytest.mark.usefixtures("forked_programs")

Torchdeck = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def torchdeck(tmp_path: Path) -> Iterator[Torchdeck]:
    """Starts a command of the command line on the test's own folders; what still runs at the end is killed."""
    begun: list[subprocess.Popen[str]] = []
    environment = {**os.environ, "TORCHDECK_LOGS": str(tmp_path / "logs"), "TORCHDECK_DATA": str(tmp_path / "data")}

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "torchdeck.tui.cli", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def workers() -> Iterator[list[DetachedRun]]:
    """The detached runs of a test; each is stopped and waited for at its end."""
    begun: list[DetachedRun] = []
    yield begun
    for detached in begun:
        detached.process.terminate()
        detached.process.wait()


def config(epochs: int) -> ExperimentConfig:
    return presets.load("quickstart").with_overrides(
        [
            f"training.epochs={epochs}",
            "training.threads=1",
            "model.dropout=0.2",
            "data.train_limit=256",
            "data.test_limit=100",
        ]
    )


def begun(detached: DetachedRun) -> RunStarted | RunFailed:
    """Wait until a detached run has begun, or failed to."""
    while (told := detached.start_result()) is None:
        threading.Event().wait(0.02)
    return told


def weights(folder: Path) -> str:
    """The hash of the weights in the last checkpoint."""
    newest = next(checkpoint.newest_first(folder / "checkpoints"))
    return hashlib.sha256((newest / "model.safetensors").read_bytes()).hexdigest()


def test_a_run_that_goes_through_three_processes_equals_the_undisturbed_one(
    tmp_path: Path, workers: list[DetachedRun], faults: Faults
) -> None:
    logs, data = tmp_path / "logs", tmp_path / "data"
    workers.append(start_detached(config(30), Label("quickstart"), logs, data, time.time()))
    assert isinstance(begun(workers[0]), RunStarted)
    folder = workers[0].folder
    # A process that is killed before it has the run leaves it where it is.
    killed = resume_detached(folder, data, take_over=True)
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.wait()
    assert "killed by SIGKILL" in killed.worker.exit_text()
    assert isinstance(send_and_wait(folder, "pause"), CommandApplied)
    assert load_record(folder).attempt == 1
    # What it prints began in a hidden file, which moved into its directory.
    assert [path.name for path in logs.iterdir()] == [folder.name]
    assert (folder / "console.log").is_file()
    workers.append(resume_detached(folder, data, take_over=True))
    assert isinstance(begun(workers[1]), RunStarted)
    workers[0].process.wait()
    # Paused it was, paused it is; the third process takes it so, too.
    workers.append(resume_detached(folder, data, take_over=True))
    assert isinstance(begun(workers[2]), RunStarted)
    send_command(folder, "unpause")
    seen = list(follow(folder))
    faults("hand-overs", 3, lost=sum(isinstance(event, RunFailed) for event in seen))
    assert isinstance(seen[-1], RunCompleted)
    assert seen[-1].status == "completed"
    record = load_record(folder)
    assert (record.attempt, record.status) == (3, "completed")

    whole = list(run(config(30), tmp_path / "undisturbed", context=SessionContext(data, sample_every=1.0)))
    (undisturbed,) = (tmp_path / "undisturbed").iterdir()
    losses = [event.step_losses for event in whole if isinstance(event, EpochCompleted)]
    assert [epoch.step_losses for epoch in record.epochs] == losses
    assert weights(folder) == weights(undisturbed)


def test_a_detached_run_outlives_who_started_and_who_watches_it(
    tmp_path: Path, torchdeck: Torchdeck, faults: Faults
) -> None:
    started = torchdeck("run", "quickstart", "training.epochs=2000", "training.threads=1", "--detach", "--json")
    out, err = started.communicate(timeout=120)
    assert started.returncode == 0, err
    told = json.loads(out)
    folder, process = tmp_path / "logs" / told["run_id"], psutil.Process(told["pid"])
    try:
        assert os.getsid(process.pid) == process.pid
        watching = torchdeck("attach", told["run_id"], "--json")
        assert watching.stdout
        for line in watching.stdout:
            if json.loads(line)["kind"] == "CheckpointSaved":
                break
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
        assert watching.returncode == 130
        assert f"run {told['run_id']} continues" in err
        faults("watchers interrupted", lost=not process.is_running())
        assert load_record(folder).status == "running"

        attached = torchdeck("attach", "@last", "--json")
        stopped = torchdeck("stop", "@last", "--json")
        assert json.loads(stopped.communicate(timeout=60)[0])["done"]
        out, _ = attached.communicate(timeout=60)
        assert attached.returncode == 0
        events = [from_json(json.loads(line)) for line in out.splitlines()]
        assert [event.seq for event in events if isinstance(event, RunEvent)] == list(range(len(events)))
        whole = [event.step_losses for event in events if isinstance(event, EpochCompleted)]
        assert whole == [epoch.step_losses for epoch in load_record(folder).epochs]
        process.wait(30)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_run_that_the_app_started_detached_outlives_it(terminals: Terminals, faults: Faults) -> None:
    pty, log = terminals.pty(), Log(terminals.logs)
    app = terminals.start(pty, "tui", change="programs are forked")
    until(lambda: pty.shows("150,000 steps"), lambda: pty.said[-2000:])
    pty.press(b"D")
    # Followed live: the curve that the other process makes is on the screen.
    until(lambda: log.epochs() and "· running" in "\n".join(pty.screen()), lambda: "\n".join(pty.screen()))
    app.kill()
    terminals.code(app)
    at = log.epochs()
    until(lambda: log.epochs() > at + 1, lambda: log.events[-3:])
    folder = only_run(terminals.logs)
    faults("watchers killed", lost=int(load_record(folder).status != "running"))
    assert load_record(folder).status == "running"
    assert isinstance(send_and_wait(folder, "stop"), RunCompleted)
    assert sum(isinstance(event, RunStarted) for event in log.read()) == 1


def test_of_two_processes_that_resume_one_run_one_gets_it(
    tmp_path: Path, torchdeck: Torchdeck, workers: list[DetachedRun], faults: Faults
) -> None:
    logs, data = tmp_path / "logs", tmp_path / "data"
    workers.append(start_detached(config(2000), Label("quickstart"), logs, data, time.time()))
    assert isinstance(begun(workers[0]), RunStarted)
    folder = workers[0].folder
    assert isinstance(send_and_wait(folder, "stop"), RunCompleted)
    workers[0].process.wait()
    both = [resume_detached(folder, data), resume_detached(folder, data)]
    workers += both
    first, second = sorted((begun(one) for one in both), key=lambda told: isinstance(told, RunFailed))
    faults("fights for a run", crashes=not isinstance(first, RunStarted))
    assert isinstance(first, RunStarted)
    # Both may read the beginning of the one attempt; only one wrote it.
    holder = json.loads((folder / "run.lock").read_text())["pid"]
    owner = next(one for one in both if one.process.pid == holder)
    loser = next(one for one in both if one is not owner)
    loser.process.wait()
    failed = loser.worker.failure() if not isinstance(second, RunFailed) else second
    assert failed
    assert failed.error.kind == "busy"
    assert f"process {owner.process.pid}" in failed.error.message
    assert load_record(folder).attempt == 2

    third = torchdeck("resume", "@last")
    _, err = third.communicate(timeout=60)
    assert third.returncode == 3
    assert f"process {owner.process.pid}" in err


def test_a_detached_run_that_cannot_begin_leaves_nothing(tmp_path: Path, faults: Faults) -> None:
    wrong = presets.load("lenet").with_overrides(["data.download=false"])
    detached = start_detached(wrong, Label("lenet"), tmp_path / "logs", tmp_path / "data", time.time())
    told = begun(detached)
    faults("runs that cannot begin", crashes=(tmp_path / "logs").exists())
    assert isinstance(told, RunFailed)
    assert told.error.kind == "input"
    assert not (tmp_path / "logs").exists()
