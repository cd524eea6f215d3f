"""Processes that are really killed: with a log, a checkpoint or a whole training in their hands."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from disk_scenario import verified
from fault_counts import Faults
from fork_pool import ForkPool
from polling import until

from torchdeck.core.events import RunCompleted
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.reader import EventReader, load_record

DIGITS: dict[str, Any] = {
    "data": {"name": "digits"},
    "model": {"name": "lenet"},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "training": {"epochs": 3, "batch_size": 256, "threads": 1, "device": "cpu", "precision": "fp32"},
}


class Killer:
    """Has tasks done in processes that it kills: see kill_tasks.py."""

    def __init__(self, fork_pool: ForkPool) -> None:
        self._fork_pool = fork_pool

    def until(self, told_enough: Callable[[list[str]], bool], task: str, **arguments: Any) -> list[str]:
        """What a process told until it was killed, or ended by itself."""
        reading, writing = os.pipe()
        pid = self._fork_pool.task(writing, "kill_tasks", task, arguments)
        os.close(writing)
        told, killed = list[str](), False
        with os.fdopen(reading) as said:
            for line in said:
                told.append(line.rstrip("\n"))
                if not killed and told_enough(told):
                    os.kill(pid, signal.SIGKILL)
                    killed = True
        until(lambda: self._fork_pool.code(pid) is not None)
        return told


@pytest.fixture
def killer(fork_pool: ForkPool) -> Killer:
    return Killer(fork_pool)


def after(count: int) -> Callable[[list[str]], bool]:
    return lambda told: len(told) >= count


def never(_: list[str]) -> bool:
    """For one that ends, or has itself killed."""
    return False


def test_a_killed_writer_loses_no_event_it_told_and_the_next_one_goes_on(
    killer: Killer, tmp_path: Path, faults: Faults, soak: int
) -> None:
    chance, folder, kills = random.Random(1), tmp_path / "20260101-000000-x-abcd", 30 * soak
    told, live, seen = 0, EventReader(folder), []
    for _ in range(kills):
        lines = killer.until(after(chance.randint(1, 200)), "log", folder=str(folder))
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


def test_a_log_behind_a_buffer_loses_what_it_told(killer: Killer, tmp_path: Path) -> None:
    told = killer.until(never, "naive_log", folder=str(tmp_path / "log"), lines=50)
    assert len((tmp_path / "log").read_text().splitlines()) < len(told) == 50


def test_a_process_killed_while_it_saves_leaves_the_checkpoints_it_told_of(
    killer: Killer, tmp_path: Path, faults: Faults, soak: int
) -> None:
    chance, root, kills, lost, number = random.Random(2), tmp_path / "run" / "checkpoints", 12 * soak, [], 0
    root.parent.mkdir()
    for _ in range(kills):
        told = killer.until(after(chance.randint(20, 80)), "checkpoints", root=str(root), first=number + 1)
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


def test_a_checkpoint_written_over_the_last_one_is_lost_by_a_kill(killer: Killer, tmp_path: Path) -> None:
    assert killer.until(never, "naive_checkpoints", root=str(tmp_path / "last")) == ["saved 1"]
    assert (tmp_path / "last.bin").stat().st_size < 1_000_000


def test_a_training_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(
    killer: Killer, tmp_path: Path, faults: Faults, soak: int
) -> None:
    request = {"logs": str(tmp_path), "config": DIGITS}
    chance, kills = random.Random(3), 6 * soak
    killer.until(never, "train", run_id="undisturbed", **request)
    for number in range(kills):
        # Far enough that some epochs end and some do not.
        told = killer.until(after(chance.randint(23, 36) if number % 2 else 20), "train", run_id="killed", **request)
        assert told
    killer.until(never, "train", run_id="killed", **request)
    runs = [load_record(tmp_path / name) for name in ("undisturbed", "killed")]
    weights = [
        checkpoint.load_model(next(checkpoint.newest_first(tmp_path / name / "checkpoints")))
        for name in ("undisturbed", "killed")
    ]
    same = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    faults("kills of a training", kills, lost=not same)
    assert runs[1].attempt > 1
    assert all(isinstance(run.ending, RunCompleted) for run in runs)
    assert [epoch.metrics for epoch in runs[0].epochs] == [epoch.metrics for epoch in runs[1].epochs]
    assert [epoch.step_losses for epoch in runs[0].epochs] == [epoch.step_losses for epoch in runs[1].epochs]
    assert same
