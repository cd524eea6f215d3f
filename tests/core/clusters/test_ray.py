"""A study on a real Ray of two nodes on this machine: see `ray_cluster`. It takes minutes: pytest -m ray."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from repository import ROOT

from torchdeck.core.events import RunCompleted, RunStarted
from torchdeck.core.runs.reader import EventReader, load_record

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra named ray is not installed"),
]

Line = dict[str, Any]
SWEEP = ("sweep", "quickstart", "optimizer.lr=0.001,0.01,0.02,0.03", "training.epochs=120", "data.train_limit=256")


class Cluster:
    """Two nodes; the second can be removed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def remove_a_node(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._answer() == "removed"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    command = [sys.executable, str(ROOT / "tests" / "support" / "ray_cluster.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Cluster(process)
        assert process.stdin
        process.stdin.close()


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Iterator[Line]]]:
    """A study as it runs, and its JSON lines."""
    place = {"TORCHDECK_LOGS": str(folder / "logs"), "TORCHDECK_DATA": str(folder / "data")}
    command = [sys.executable, "-P", "-m", "torchdeck.tui.cli", *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **place}) as process:
        yield process, lines_of(process.stdout)


def lines_of(stdout: IO[str] | None) -> Iterator[Line]:
    assert stdout
    return (json.loads(line) for line in stdout)


def test_four_trials_finish_though_a_node_is_removed(cluster: Cluster, tmp_path: Path) -> None:
    on_ray = ("--on", "ray", "--address", cluster.address, "--gpus-per-run", "0", "--max-parallel", "4")
    with started(tmp_path, *SWEEP, *on_ray) as (process, lines):
        epochs: dict[int, int] = {}
        while len(epochs) < 4 or min(epochs.values()) < 3:
            line = next(lines)
            if line.get("event", {}).get("kind") == "EpochCompleted":
                epochs[line["number"]] = line["event"]["epoch"]
        cluster.remove_a_node()
        heard = list(lines)
    assert process.returncode == 0
    assert heard[-1]["runs"]["completed"] == 4
    runs = [path.parent for path in (tmp_path / "logs").glob("*/run.json")]
    assert len(runs) == 4
    attempts = [[event for event in EventReader(run).read() if isinstance(event, RunStarted)] for run in runs]
    # Each node had room for two.
    assert sorted(map(len, attempts)) == [1, 1, 2, 2]
    assert all(again[0].resumed_from for _, *again in attempts if again)
    for run in runs:
        record = load_record(run)
        assert isinstance(record.ending, RunCompleted)
        assert [epoch.epoch for epoch in record.epochs] == list(range(1, 121))
