"""Runs on several devices: equal to those of one process, and to themselves when a rank is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from example_runs import gpus, make_run_on
from fault_counts import Faults
from polling import until
from small_runs import changed, only_run

from torchdeck.core.api import SessionContext, resume, run
from torchdeck.core.config import ExperimentConfig, parse_config
from torchdeck.core.control import Control
from torchdeck.core.data import open_dataset
from torchdeck.core.events import (
    CheckpointSaved,
    EpochCompleted,
    FolderChanged,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
)
from torchdeck.core.processes.launch import request_run
from torchdeck.core.processes.multi_device import follow_processes
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.label import Label
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.request import RankTimeouts
from torchdeck.core.utils.locks import is_held, take_lock

PLAIN: dict[str, Any] = {
    "data": {
        "name": "synthetic",
        "size": 16,
        "train_images": 203,
        "test_images": 230,
        "classes": 4,
        "crop_padding": 2,
        "flip": True,
    },
    "model": {"name": "lenet"},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "training": {"epochs": 2, "batch_size": 50, "threads": 1, "precision": "fp64"},
}


def config(**changes: Any) -> ExperimentConfig:
    return parse_config(changed(PLAIN, {path.replace("__", "."): value for path, value in changes.items()}))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(next(checkpoint.newest_first(folder / "checkpoints")))


def ranks_of(folder: Path) -> list[psutil.Process]:
    """The processes that train a run, by rank."""
    agent = psutil.Process(json.loads((folder / "agent.lock").read_bytes())["pid"])
    return sorted(agent.children(), key=lambda process: process.pid)


def assert_closed_to_strangers(folder: Path, temporary: Path) -> None:
    """The processes of a running run listen for gloo's peers on loopback, and meet in a folder of their own.

    torch's launcher unpickles what it finds in the store where they meet: on a port other accounts could put it there.
    """
    agent = psutil.Process(json.loads((folder / "agent.lock").read_bytes())["pid"])
    listening = {
        process.pid: [it.laddr.ip for it in process.net_connections("inet") if it.status == psutil.CONN_LISTEN]
        for process in (agent, *agent.children(recursive=True))
    }
    assert listening == {agent.pid: [], **{rank.pid: ["127.0.0.1"] for rank in ranks_of(folder)}}
    (meeting,) = temporary.glob("torchdeck-*")
    assert meeting.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in meeting.iterdir()} == {"agents", "ranks"}


def trained(config: ExperimentConfig, logs: Path, data: Path) -> list[RunEvent]:
    return list(run(config, logs, context=SessionContext(data)))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of all processes of a run."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    apart = trained(config(training__device="cpu:2"), tmp_path / "two", tmp_path)
    alone = trained(config(training__device="cpu"), tmp_path / "one", tmp_path)
    assert isinstance(apart[-1], RunCompleted), apart[-1]
    begun = next(event for event in apart if isinstance(event, RunStarted))
    assert [rank["device"] for rank in begun.ranks] == ["cpu", "cpu"]
    ours, theirs = ([event for event in events if isinstance(event, EpochCompleted)] for events in (apart, alone))
    for mine, other in zip(ours, theirs, strict=True):
        # The loss of each step is kept in single precision, what it comes to in double.
        assert mine.metrics == pytest.approx(other.metrics, rel=1e-6)
        assert torch.allclose(*(torch.frombuffer(bytearray(e.step_losses), dtype=torch.float32) for e in (mine, other)))
    one, two = weights(only_run(tmp_path / "one")), weights(only_run(tmp_path / "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-12
    assert load_record(only_run(tmp_path / "two")).devices.keys() == {0, 1}


def watched(events: Iterator[RunEvent], logs: Path) -> Path:
    """The directory of a run that has just done an epoch."""
    assert any(isinstance(event, EpochCompleted) for event in events)
    return only_run(logs)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_programs")
def test_a_run_that_is_killed_stopped_and_orphaned_equals_the_undisturbed_one(
    tmp_path: Path, temporary: Path, faults: Faults
) -> None:
    settings = config(training__device="cpu:2", training__epochs=40, training__precision="fp32", model__dropout=0.2)
    context, control = SessionContext(tmp_path, rank_timeouts=RankTimeouts(retries=1)), Control()
    trained(settings, tmp_path / "whole", tmp_path)
    # A rank is killed: the agent goes on from the last checkpoint.
    events = run(settings, tmp_path / "hurt", control, context=context)
    folder = watched(events, tmp_path / "hurt")
    assert_closed_to_strangers(folder, temporary)
    ranks_of(folder)[1].kill()
    assert any(isinstance(event, RunCompleted) and event.status == "handed_over" for event in events)
    watched(events, tmp_path / "hurt")
    assert any("rank 1" in warning and "SIGKILL" in warning for warning in load_record(folder).warnings)
    # It is asked to stop: all ranks do at one step.
    control.request("stop", "that is enough")
    *_, last = events
    assert isinstance(last, RunCompleted), last
    assert (last.status, last.reason) == ("stopped", "that is enough")
    assert load_record(folder).checkpoints[-1].step == last.step
    # The agent is killed: its ranks stop with a checkpoint.
    events = resume(folder, context=context)
    watched(events, tmp_path / "hurt")
    assert_closed_to_strangers(folder, temporary)
    ranks, agent = ranks_of(folder), json.loads((folder / "agent.lock").read_bytes())["pid"]
    os.kill(agent, signal.SIGKILL)
    *_, last = events
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert isinstance(last, RunCompleted), last
    assert last.reason == "signal SIGTERM"
    assert not alive
    assert not list(temporary.glob("torchdeck-*"))

    told = RunRecord()
    for last in resume(folder, context=context):
        told.apply(last)
    faults("lost ranks and agents", 2, lost=int(not isinstance(last, RunCompleted)))
    assert isinstance(last, RunCompleted), last
    record, whole = load_record(folder), load_record(only_run(tmp_path / "whole"))
    assert record.attempt == 4
    assert told == record
    assert [epoch.step_losses for epoch in record.epochs] == [epoch.step_losses for epoch in whole.epochs]
    one, two = weights(only_run(tmp_path / "whole")), weights(folder)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.long
@pytest.mark.usefixtures("forked_programs")
def test_a_rank_that_does_not_answer_is_given_up(tmp_path: Path, faults: Faults) -> None:
    settings = config(training__device="cpu:2", training__epochs=10_000, training__precision="fp32")
    events = run(settings, tmp_path / "logs", context=SessionContext(tmp_path, rank_timeouts=RankTimeouts(timeout=6)))
    folder = watched(events, tmp_path / "logs")
    ranks_of(folder)[1].suspend()
    *_, last = events
    faults("stalled ranks")
    assert isinstance(last, RunFailed), last
    assert "did not answer" in last.error.message
    assert f"torchdeck resume {folder.name}" in last.error.hint


@pytest.mark.usefixtures("forked_programs")
def test_machines_meet_on_a_port_and_the_run_warns_that_their_network_must_be_trusted(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    settings = config(training__device="cpu", training__nodes=2)
    folder = request_run(settings, Label(), tmp_path / "logs", time.time())
    command = [sys.executable, "-P", "-m", "torchdeck.core.processes.worker", str(folder), "--data", str(tmp_path)]
    command += ["--rendezvous", f"127.0.0.1:{unused_tcp_port}"]
    with open(tmp_path / "printed", "wb") as printed:
        agents = [subprocess.Popen(command, stdout=printed, stderr=printed) for _ in range(2)]
    until(lambda: None not in [agent.poll() for agent in agents], seconds=240)
    assert [agent.returncode for agent in agents] == [0, 0], (tmp_path / "printed").read_text()
    record = load_record(folder)
    assert (record.status, record.devices.keys()) == ("completed", {0, 1})
    assert any("the network between them must be trusted" in warning for warning in record.warnings)


@pytest.mark.usefixtures("forked_programs")
def test_machines_that_are_not_told_where_to_meet_are_refused_before_they_open_a_port(tmp_path: Path) -> None:
    settings = config(training__device="cpu", training__nodes=2)
    *_, last = run(settings, tmp_path / "logs", context=SessionContext(tmp_path))
    assert isinstance(last, RunFailed), last
    assert (last.error.kind, "--rendezvous" in last.error.hint) == ("input", True)
    assert not list((tmp_path / "logs").glob("*"))


@pytest.mark.usefixtures("forked_programs")
def test_what_no_rank_can_do_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    dataset = open_dataset(parse_config({**PLAIN, "data": {"name": "cifar10", "download": False}}).data, tmp_path)
    assert dataset.missing()
    wrong = config(training__device="cpu:2", data__name="cifar10", data__download=False)
    *_, last = run(wrong, tmp_path / "logs", context=SessionContext(tmp_path))
    assert isinstance(last, RunFailed), last
    assert last.error.kind == "input"
    assert "torchdeck data fetch cifar10" in last.error.hint
    assert not list((tmp_path / "logs").iterdir()) if (tmp_path / "logs").exists() else True


class Begun:
    """Stands for the processes of a run that trains; to wait for their end would be to wait for ever."""

    def __init__(self, started: RunStarted) -> None:
        self._started = started
        self.process = self

    def start_result(self) -> RunStarted:
        return self._started

    def wait(self) -> None:
        raise AssertionError("the run was waited for")


def test_whoever_follows_a_run_leaves_it_to_itself_by_handing_it_over(tmp_path: Path) -> None:
    folder = tmp_path / make_run_on(tmp_path, 1.8e9, gpus(2))
    told = list(EventReader(folder).read())
    log, lines = folder / "events.jsonl", (folder / "events.jsonl").read_bytes()
    log.unlink()
    lock, control = take_lock(folder / "run.lock"), Control()

    def begin() -> Any:
        log.write_bytes(lines)
        return Begun(next(event for event in told if isinstance(event, RunStarted)))

    try:
        seen: list[RunEvent] = []
        for event in follow_processes(begin, folder, control):
            seen.append(event)
            if len(seen) == len(told):
                control.request("hand-over")
        assert seen[1:-1] == told
        last = seen[-1]
        assert isinstance(last, RunCompleted)
        assert (last.status, last.seq) == ("handed_over", told[-1].seq + 1)
        assert last.step == told[-1].step
        # Nothing was asked of the run, nothing was written to its log.
        assert log.read_bytes() == lines
        assert not list(folder.glob("control/*"))
    finally:
        os.close(lock)


@pytest.mark.usefixtures("forked_programs")
def test_a_run_on_two_devices_goes_where_its_folder_goes_and_makes_it_again(tmp_path: Path, faults: Faults) -> None:
    logs, control = tmp_path / "logs", Control()
    settings = config(training__device="cpu:2", training__epochs=10_000, training__precision="fp32")
    events = run(settings, logs, control, context=SessionContext(tmp_path))
    folder = watched(events, logs)
    renamed = folder.rename(logs / "another-name")
    assert any(isinstance(event, FolderChanged) and event.run_id == renamed.name for event in events)
    shutil.rmtree(renamed.rename(tmp_path / "trash"))
    assert any(isinstance(event, FolderChanged) for event in events)
    # A checkpoint takes the place of those that are gone.
    assert any(isinstance(event, CheckpointSaved) for event in events)
    until(lambda: is_held(renamed / "agent.lock"))
    control.request("stop", "that is enough")
    *_, last = events
    assert isinstance(last, RunCompleted), last
    faults("folders removed or renamed", 2, lost=int(last.reason != "that is enough"))
    assert last.reason == "that is enough"
    assert checkpoint.steps(renamed / "checkpoints")[0] == last.step
    record = load_record(only_run(logs))
    assert record.ending == last
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, len(record.epochs) + 1))
