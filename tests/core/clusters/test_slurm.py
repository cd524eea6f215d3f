"""Studies on a real Slurm of two nodes on this machine: see `slurm_cluster`. They take minutes: pytest -m slurm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import missing, said, slurm_cluster, until

from torchdeck.core.events import RunCompleted, RunStarted
from torchdeck.core.runs.reader import EventReader, load_record

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=missing() or "Slurm is here")]
pytest.importorskip("submitit", reason="the extra named slurm is not installed")

Line = dict[str, Any]
Environment = dict[str, str]
TINY = ("training.device=cpu", "training.threads=1", "data.train_limit=256", "data.test_limit=64")
ON_SLURM = ("--on", "slurm", "--partition", "low", "--time", "10m", "--max-parallel", "4")
PATIENCE = 240.0
"""Seconds that a busy machine may take to start the processes of a few jobs."""


@pytest.fixture
def flavour() -> str:
    return "USR2"


@pytest.fixture
def cluster(tmp_path: Path, flavour: str) -> Iterator[Environment]:
    place = {"TORCHDECK_LOGS": str(tmp_path / "logs"), "TORCHDECK_DATA": str(tmp_path / "data")}
    with slurm_cluster(tmp_path / "slurm", signalled=flavour) as environment:
        yield {**os.environ, **environment, **place}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "torchdeck.tui.cli", *arguments, "--json"]


@contextmanager
def started(environment: Environment, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Iterator[Line]]]:
    """A study as it runs, and its JSON lines."""
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        yield process, (json.loads(line) for line in process.stdout)


def sweep(values: str, epochs: int) -> tuple[str, ...]:
    return ("sweep", "quickstart", f"optimizer.lr={values}", f"training.epochs={epochs}", *TINY)


def after(lines: Iterator[Line], epoch: int, *, of: int) -> None:
    """Wait until so many runs came so far."""
    there: set[int] = set()
    while len(there) < of:
        line = next(lines)
        event = line.get("event", {})
        if event.get("kind") == "EpochCompleted" and event["epoch"] >= epoch:
            there.add(line["number"])


def jobs(environment: Environment) -> dict[str, str]:
    """The state of each job that is not over."""
    return dict(line.split() for line in said(["squeue", "-h", "-o", "%i %T"], environment).splitlines())


def runs_of(environment: Environment) -> list[Path]:
    """The directories of the study's runs, by their numbers."""
    found = [path.parent for path in Path(environment["TORCHDECK_LOGS"]).glob("*/run.json")]
    return sorted(found, key=lambda run: json.loads((run / "run.json").read_text())["study"]["number"])


def attempts_of(run: Path) -> list[RunStarted]:
    return [event for event in EventReader(run).read() if isinstance(event, RunStarted)]


def endings_of(run: Path) -> list[RunCompleted]:
    return [event for event in EventReader(run).read() if isinstance(event, RunCompleted)]


def figures_of(run: Path) -> list[tuple[int, dict[str, float]]]:
    return [(epoch.epoch, dict(epoch.metrics)) for epoch in load_record(run).epochs]


def take_all(environment: Environment) -> None:
    """Have a job of more weight take both nodes for a while, and see it end."""
    weighty = ["sbatch", "-p", "high", "-N", "2", "--exclusive", "-o", "/dev/null", "--wrap", "srun sleep 1"]
    job = said(weighty, environment).split()[-1]
    until(lambda: job not in jobs(environment), PATIENCE, "the job of more weight is over")


def at_once(environment: Environment) -> None:
    """Have the jobs that were requeued begin: Slurm itself waits for two minutes."""
    for job, state in jobs(environment).items():
        if state == "PENDING":
            said(["scontrol", "update", f"jobid={job}", "StartTime=now"], environment)


def test_a_study_runs_on_both_nodes_and_a_second_call_repeats_nothing(cluster: Environment) -> None:
    request = (*sweep("0.001,0.01,0.02", 2), *ON_SLURM)
    with started(cluster, *request) as (process, lines):
        heard = list(lines)
    assert process.returncode == 0
    ends = [line for line in heard if line["kind"] == "RunEnded"]
    assert [line["state"] for line in ends] == ["completed"] * 3
    # A node has two GPUs, so a third job goes to the other.
    assert {line["place"].partition(",")[0] for line in ends} == {"n1", "n2"}
    assert len(runs_of(cluster)) == 3
    with started(cluster, *request) as (process, lines):
        assert [line["kind"] for line in lines] == ["StudyStarted", "StudyEnded"]


@pytest.mark.parametrize("flavour", ["USR2", "TERM"])
def test_a_preempted_job_requeues_and_resumes_at_its_step(cluster: Environment, tmp_path: Path, flavour: str) -> None:
    request = sweep("0.001,0.01", 40)
    with started(cluster, *request, *ON_SLURM) as (process, lines):
        after(lines, 2, of=2)
        before = set(jobs(cluster))
        take_all(cluster)
        assert jobs(cluster) == dict.fromkeys(before, "PENDING")
        at_once(cluster)
        list(lines)
    assert process.returncode == 0
    undisturbed = {**cluster, "TORCHDECK_LOGS": str(tmp_path / "undisturbed")}
    assert subprocess.run(command(*request), env=undisturbed, stdout=subprocess.DEVNULL, check=False).returncode == 0
    for run, other in zip(runs_of(cluster), runs_of(undisturbed), strict=True):
        stopped, completed = endings_of(run)
        assert (stopped.status, stopped.reason) == ("stopped", f"signal SIG{flavour}")
        assert [attempt.resumed_from for attempt in attempts_of(run)] == [None, stopped.step]
        assert (completed.status, 0 < stopped.step < completed.step) == ("completed", True)
        assert figures_of(run) == figures_of(other)


def test_jobs_outlive_the_study_s_process_and_the_same_command_looks_after_them(cluster: Environment) -> None:
    request = (*sweep("0.001,0.01", 400), *ON_SLURM)
    with started(cluster, *request) as (process, lines):
        after(lines, 2, of=2)
        process.kill()
    left = jobs(cluster)
    assert list(left.values()) == ["RUNNING", "RUNNING"]
    with started(cluster, *request) as (process, lines):
        after(lines, 3, of=2)
        assert jobs(cluster) == left
        process.send_signal(signal.SIGINT)
        last = list(lines)[-1]
    assert (process.returncode, last["runs"]["stopped"]) == (130, 2)
    assert jobs(cluster) == {}
    for run in runs_of(cluster):
        record = load_record(run)
        assert (record.status, record.reason, record.checkpoints[-1].step) == ("stopped", "signal SIGINT", record.step)


def test_a_run_on_two_nodes_is_preempted_resumes_at_its_step_and_finishes(cluster: Environment) -> None:
    asked = [
        sys.executable,
        "-P",
        "-m",
        "torchdeck.tui.cli",
        "sbatch",
        "quickstart",
        "--nodes",
        "2",
        "--devices",
        "cpu",
    ]
    asked += ["training.epochs=60", *TINY[1:], "--partition", "low", "--time", "10m"]
    script = subprocess.run(asked, env=cluster, stdout=subprocess.PIPE, text=True, check=True).stdout
    subprocess.run(["sbatch"], input=script, env=cluster, stdout=subprocess.DEVNULL, text=True, check=True)
    (run,) = (path.parent for path in Path(cluster["TORCHDECK_LOGS"]).glob("*/request.json"))
    until(lambda: load_record(run).checkpoints != [], PATIENCE, "a checkpoint")
    take_all(cluster)
    at_once(cluster)
    until(lambda: len(endings_of(run)) == 2, PATIENCE, "the run is complete")
    stopped, completed = endings_of(run)
    assert (stopped.status, stopped.reason, completed.status) == ("stopped", "signal SIGUSR2", "completed")
    first, again = attempts_of(run)
    assert (first.resumed_from, again.resumed_from) == (None, stopped.step)
    assert len(first.ranks) == 2
    until(lambda: jobs(cluster) == {}, PATIENCE, "the job is over")
