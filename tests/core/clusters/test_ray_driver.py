"""A study on Ray without one: what stands in for it is in `fake_ray`. The processes are real."""

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

from repository import ROOT

from torchdeck.core.runs.reader import follow, load_record

TINY = ("data.train_limit=128", "data.test_limit=64", "training.batch_size=32")
ON_RAY = ("--on", "ray", "--gpus-per-run", "0", "--max-parallel", "2", "--json")


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]]:
    """A study as it runs, and its lines: all are JSON, whatever Ray prints."""
    place = {"TORCHDECK_LOGS": str(folder / "logs"), "TORCHDECK_DATA": str(folder / "data")}
    environment = {**os.environ, **place, "PYTHONPATH": str(ROOT / "tests" / "support" / "fake_ray")}
    command = [sys.executable, "-P", "-m", "torchdeck.tui.cli", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        yield process, (json.loads(line) for line in process.stdout)


def runs_of(folder: Path) -> list[Path]:
    return [path.parent for path in (folder / "logs").glob("*/run.json")]


def test_a_study_runs_on_ray_and_what_ray_prints_stays_in_a_file(tmp_path: Path) -> None:
    values = "optimizer.lr=0.001,0.01,0.02"
    with started(tmp_path, "sweep", "quickstart", values, "training.epochs=2", *TINY, *ON_RAY) as (process, lines):
        heard = list(lines)
        assert process.stderr
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert heard[-1]["runs"]["completed"] == 3
    ends = [line for line in heard if line["kind"] == "RunEnded"]
    assert {line["place"] for line in ends} == {f"{os.uname().nodename}, by Ray"}
    (printed,) = (tmp_path / "logs").glob("*/workers/ray.log")
    assert "(raylet)" in printed.read_text()


def test_the_death_of_the_study_s_process_leaves_no_training_behind(tmp_path: Path) -> None:
    values = "optimizer.lr=0.001,0.01"
    with started(tmp_path, "sweep", "quickstart", values, "training.epochs=100000", *TINY, *ON_RAY) as (process, lines):
        training: set[int] = set()
        while len(training) < 2:
            line = next(lines)
            if line.get("event", {}).get("kind") == "EpochCompleted":
                training.add(line["number"])
        process.send_signal(signal.SIGKILL)
    for run in runs_of(tmp_path):
        *_, last = follow(run)
        record = load_record(run)
        assert (record.status, record.reason) == ("stopped", "the process that started the run is gone")
        assert record.checkpoints[-1].step == record.step == last.step


def test_a_cluster_that_does_not_answer_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    request = ("sweep", "quickstart", "optimizer.lr=0.1,0.2", *ON_RAY, "--address", "nowhere:1")
    with started(tmp_path, *request) as (process, lines):
        assert list(lines) == []
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 2
    assert said.startswith(
        "error: no Ray cluster answers at nowhere:1 (ray.init() could not reach it)\n  start one with"
    )
    assert not (tmp_path / "logs").exists()
