"""Processes that are really killed: with a log, a checkpoint or a whole training in their hands."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Faults
from disk_scenario import verified

from core import checkpoint
from core.events import RunCompleted
from core.logs import EventReader, load_record

ROOT = Path(__file__).parent.parent.parent
DIGITS: dict[str, Any] = {
    "data": {"name": "digits"},
    "model": {"name": "lenet"},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "training": {"epochs": 3, "batch_size": 256, "threads": 1, "device": "cpu", "precision": "fp32"},
}


class Server:
    """Forks children that are killed: see kill_server.py."""

    def __init__(self) -> None:
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "kill_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **one},
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().decode().rstrip("\n")

    def until(self, told_enough: Callable[[list[str]], bool], **request: Any) -> list[str]:
        """What a child told until it was killed, or ended by itself."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        child, told, killed = int(self._line()), list[str](), False
        while (line := self._line()) != "gone":
            assert line, "the server died"
            told.append(line)
            if not killed and told_enough(told):
                os.kill(child, signal.SIGKILL)
                killed = True
        return told

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def after(count: int) -> Callable[[list[str]], bool]:
    return lambda told: len(told) >= count


def test_a_killed_writer_loses_no_event_it_told_and_the_next_one_goes_on(
    server: Server, tmp_path: Path, faults: Faults, soak: int
) -> None:
    chance, folder, kills = random.Random(1), tmp_path / "20260101-000000-x-abcd", 30 * soak
    told, live, seen = 0, EventReader(folder), []
    for _ in range(kills):
        lines = server.until(after(chance.randint(1, 200)), task="log", folder=str(folder))
        told = max(told, int(lines[-1]) + 1)
        seen += [event.seq for event in live.read()]
    reader = EventReader(folder)
    offline = [event.seq for event in reader.read()]
    faults("kills with a log in hand", kills, lost=len(set(range(told)) - set(offline)))
    assert told > kills
    assert offline == list(range(len(offline)))
    assert len(offline) >= told
    assert seen == offline
    assert reader.damaged <= kills


def test_a_log_behind_a_buffer_loses_what_it_told(server: Server, tmp_path: Path) -> None:
    told = server.until(after(50), task="naive_log", folder=str(tmp_path / "log"))
    assert len((tmp_path / "log").read_text().splitlines()) < len(told)


def test_a_process_killed_while_it_saves_leaves_the_checkpoints_it_told_of(
    server: Server, tmp_path: Path, faults: Faults, soak: int
) -> None:
    chance, root, kills, lost, number = random.Random(2), tmp_path / "run" / "checkpoints", 12 * soak, [], 0
    root.parent.mkdir()
    for _ in range(kills):
        told = server.until(after(chance.randint(20, 80)), task="checkpoints", root=str(root), first=number + 1)
        saved = [line.split()[1:] for line in told if line.startswith("saved")]
        number = int(saved[-1][1]) if saved else number
        found = verified(root)
        tensors, state = checkpoint.load(found[0])
        if state["number"] < number or not torch.equal(
            tensors["model.weight"], torch.full((250_000,), float(state["number"]))
        ):
            lost.append((number, state))
        if number > 3 and len(found) < 2:
            lost.append((number, found))
        number = max(number, state["number"])
    faults("kills with a checkpoint in hand", kills, lost=len(lost))
    assert number > kills
    assert lost == []


def test_a_checkpoint_written_over_the_last_one_is_lost_by_a_kill(server: Server, tmp_path: Path) -> None:
    server.until(after(26), task="naive_checkpoints", root=str(tmp_path / "last"), first=1)
    assert (tmp_path / "last.bin").stat().st_size < 1_000_000


def test_a_training_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(
    server: Server, tmp_path: Path, faults: Faults, soak: int
) -> None:
    request = {"task": "train", "logs": str(tmp_path), "config": DIGITS}
    chance, kills = random.Random(3), 6 * soak
    server.until(lambda _: False, run_id="undisturbed", **request)
    for number in range(kills):
        # Far enough that some epochs end and some do not.
        told = server.until(after(chance.randint(6, 20) if number % 2 else 4), run_id="killed", **request)
        assert told
    server.until(lambda _: False, run_id="killed", **request)
    runs = [load_record(tmp_path / name) for name in ("undisturbed", "killed")]
    weights = [
        checkpoint.load_model(next(checkpoint.newest(tmp_path / name / "checkpoints")))
        for name in ("undisturbed", "killed")
    ]
    same = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    faults("kills of a training", kills, lost=not same)
    assert runs[1].attempt > 1
    assert all(isinstance(run.ending, RunCompleted) for run in runs)
    assert [epoch.metrics for epoch in runs[0].epochs] == [epoch.metrics for epoch in runs[1].epochs]
    assert [epoch.step_losses for epoch in runs[0].epochs] == [epoch.step_losses for epoch in runs[1].epochs]
    assert same
