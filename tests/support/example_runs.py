"""Runs for pictures of screens: written by hand, so that they are the same wherever they are made."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from torchdeck import presets
from torchdeck.core.config import config_hash, to_plain
from torchdeck.core.events import (
    DeviceSampled,
    EpochCompleted,
    EvaluationCompleted,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    StepCompleted,
    stamp,
)
from torchdeck.core.events import Failure as FailureOf
from torchdeck.core.runs.reader import EventReader, write_caches
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.writer import claim
from torchdeck.core.utils.locks import take_lock

STEPS = 23
CLASSES = tuple("0123456789")
DEVICE = "Example GPU"


def make_example_runs(logs: Path, now: float) -> None:
    """A completed run, one stopped within an epoch, and one that failed."""
    _write(logs, "20270115-080000-quickstart-aaaa", now - 7200, "first", [], 8, 0.12, RunCompleted(
        status="completed", reason="all epochs are done", epoch=8, step=8 * STEPS, train_seconds=16.0,
        peak_memory=2**29,
    ))  # fmt: skip
    _write(logs, "20270115-090000-quickstart-bbbb", now - 3600, "", ["optimizer.lr=0.01"], 5, 0.2, None)
    error = FailureOf("diverged", "DivergedError", "the loss is no longer finite after step 46", "lower optimizer.lr")
    _write(
        logs,
        "20270115-094500-quickstart-cccc",
        now - 900,
        "too fast",
        ["optimizer.lr=1"],
        2,
        1.5,
        RunFailed(error=error),
    )


def example_record(logs: Path, tail: str, *later: RunEvent) -> RunRecord:
    """The record of an example run, and of what is reported after its log ends."""
    record = RunRecord()
    for event in EventReader(next(logs.glob(f"*{tail}"))).read():
        record.apply(event)
    for event in later:
        record.apply(stamp(event, seq=record.next_seq, t=record.updated, attempt=1))
    return record


def gpus(count: int, hosts: Sequence[str] = ("node1",)) -> tuple[dict[str, str], ...]:
    """The ranks of a run on so many GPUs of each host."""
    return tuple(
        {"host": host, "device": f"cuda:{number}", "name": DEVICE} for host in hosts for number in range(count)
    )


def make_run_on(logs: Path, now: float, ranks: Sequence[dict[str, str]], tail: str = "rrrr") -> str:
    """A run on several devices, stopped within its sixth epoch; its id."""
    run_id = f"20270115-093000-quickstart-{tail}"
    _write(logs, run_id, now - 1800, "", ["optimizer.lr=0.02"], 5, 0.2, None, ranks=ranks)
    return run_id


def make_hostile_run(logs: Path, now: float, text: str) -> None:
    """A failed run that has `text` wherever a file can bring text."""
    error = FailureOf("crash", text, text, text, text)
    classes = tuple(f"{text}{number}" for number in range(10))
    _write(
        logs, "20270115-080000-quickstart-dddd", now, text, [], 2, 0.2, RunFailed(error=error), (text, "tag"), classes
    )


def _write(
    logs: Path,
    run_id: str,
    t: float,
    name: str,
    changes: list[str],
    epochs: int,
    floor: float,
    ending: RunEvent | None,
    tags: tuple[str, ...] = ("example",),
    classes: tuple[str, ...] = CLASSES,
    ranks: Sequence[dict[str, str]] = (),
) -> None:
    preset = presets.load("quickstart")
    config = preset.with_overrides(["training.epochs=8", "training.threads=1", "training.device=cpu", *changes])
    plain = to_plain(config)
    header: dict[str, Any] = {
        "created": t, "preset": preset.name, "name": name, "tags": list(tags), "reported": [], "config": plain,
        "config_sha256": config_hash(config), "data": {"name": "digits"}, "parameters": 61_706,
        "forward_flops": 800_000, "environment": {},
    }  # fmt: skip
    writer, record = claim(logs, run_id, header), RunRecord()
    for number, event in enumerate(_events(run_id, name, plain, epochs, floor, ending, classes, ranks)):
        stamped = stamp(event, seq=number, t=t + number, attempt=1)
        record.apply(stamped)
        writer.append(stamped)
    write_caches(writer.folder, record, curves=True)
    writer.close()
    _write_analysis(logs / run_id)


def _events(
    run_id: str,
    name: str,
    config: dict[str, Any],
    epochs: int,
    floor: float,
    ending: RunEvent | None,
    classes: tuple[str, ...],
    ranks: Sequence[dict[str, str]],
) -> list[RunEvent]:
    reported = ({"metric": "test/accuracy", "at": "best", "value": 0.97},)
    events: list[RunEvent] = [
        RunStarted(
            run_id=run_id, resumed_from=None, preset="quickstart", name=name, reported=reported, config=config,
            device="cuda:0", device_name=f"{len(ranks)} x {DEVICE}" if ranks else DEVICE, parameters=61_706,
            forward_flops=800_000, epochs=8, steps_per_epoch=STEPS, train_images=1433, test_images=364,
            class_names=classes, chosen_on="test", reproducible="seeded", ranks=tuple(ranks),
        )
    ]  # fmt: skip
    for epoch in range(1, epochs + 1):
        samples = [_sample(epoch, rank) for rank in range(max(1, len(ranks)))]
        events += [*samples, _confusion(epoch), _epoch(epoch, floor)]
    if ending is not None:
        return [*events, ending]
    step = epochs * STEPS + 9
    return [*events, StepCompleted(
        phase="train", epoch=epochs + 1, step=step, batch=9, batches=STEPS, loss=_loss(step, floor),
        mean_loss=_loss(step, floor), accuracy=0.9, lr=0.01, images_per_second=720.0,
    )]  # fmt: skip


def _loss(step: int, floor: float) -> float:
    return floor + 2.2 * math.exp(-step / 40) + 0.05 * math.sin(step * 1.7)


def _epoch(epoch: int, floor: float) -> EpochCompleted:
    losses = [_loss(step, floor) for step in range((epoch - 1) * STEPS + 1, epoch * STEPS + 1)]
    accuracy = round(0.98 - 0.9 * math.exp(-epoch / 1.6) - floor / 20, 4)
    metrics = {
        "train/loss": round(float(np.mean(losses)), 4), "train/accuracy": accuracy - 0.01,
        "test/loss": round(_loss(epoch * STEPS, floor) + 0.03, 4), "test/accuracy": accuracy,
    }  # fmt: skip
    return EpochCompleted(
        epoch=epoch, step=epoch * STEPS, metrics=metrics, lr=0.002, images_per_second=716.5, train_seconds=2.0,
        seconds=2.5, best=True, step_losses=np.array(losses, "<f4").tobytes(),
    )  # fmt: skip


def _sample(epoch: int, rank: int = 0) -> DeviceSampled:
    return DeviceSampled(
        step=epoch * STEPS, rank=rank, memory_used=6 * 2**30 + rank * 2**28, memory_total=80 * 2**30,
        memory_process=2**29, utilization=0.8 + (epoch + rank % 9) / 100, temperature=40.0 + epoch + rank,
        power=250.0 + 10 * epoch + 5 * rank,
    )  # fmt: skip


def _confusion(epoch: int) -> EvaluationCompleted:
    rows = [[(row * 3 + column * 5) % 4 if row != column else 30 + row for column in range(10)] for row in range(10)]
    rows[8][1] = 9
    return EvaluationCompleted(epoch=epoch, step=epoch * STEPS, confusion=tuple(map(tuple, rows)))


def _write_analysis(folder: Path) -> None:
    values = np.sin(np.arange(6 * 25, dtype=np.float32)).reshape(6, 1, 5, 5)
    (folder / "filters.safetensors").write_bytes(safetensors.numpy.save({"filters": values}, {"epoch": "8"}))


@dataclass(frozen=True)
class Example:
    """One run of an example study: its settings, how low its loss gets, and how many test images it gets right."""

    label: str
    changes: tuple[str, ...] = ()
    floor: float = 0.12
    epochs: int = 8
    hits: int | None = None
    state: str = "completed"
    reason: str = ""
    begun: bool = True
    place: str = ""


def make_study(
    logs: Path, runs: Sequence[Example], *, name: str = "example", tail: str = "eeee", **changes: Any
) -> Path:
    """The folder of a study in the form that studies have, with its runs beside it; `changes` replace its keys."""
    items: list[dict[str, Any]] = []
    for number, run in enumerate(runs):
        run_id = f"20270115-1{number:05}-quickstart-{tail[:2]}{number:02}" if run.begun else None
        if run_id:
            ending = _ending(run)
            _write(logs, run_id, 1_800_000_000.0 + number, run.label, list(run.changes), run.epochs, run.floor, ending)
            if run.hits is not None:
                _write_predictions(logs / run_id, run.hits, number)
        config = presets.load("quickstart").with_overrides(["training.epochs=8", *run.changes])
        items.append({
            "number": number, "label": run.label, "overrides": dict(change.split("=", 1) for change in run.changes),
            "preset": "quickstart", "config": to_plain(config), "run_id": run_id, "state": run.state,
            "reason": run.reason, "place": run.place, "parent": "example",
            "reported": [{"metric": "test/accuracy", "at": "best", "value": 0.97}],
        })  # fmt: skip
    study_id = f"20270115-120000-{name}-{tail}"
    content: dict[str, Any] = {
        "schema": 1, "min_reader": 1, "study_id": study_id, "name": name, "title": "An example", "summary": "Of runs.",
        "shows": ["table", "curves"], "kind": "list", "created": 1_800_000_000.0, "preset": "quickstart",
        "reported": [], "notes": {}, "varied": ["optimizer.lr"], "search": None, "runs": items,
    }  # fmt: skip
    (logs / study_id).mkdir(parents=True)
    (logs / study_id / "study.json").write_text(json.dumps(content | changes))
    return logs / study_id


@contextmanager
def at_work(study: Path) -> Iterator[None]:
    """While processes hold a study and its running runs."""
    runs = json.loads((study / "study.json").read_bytes())["runs"]
    held = [study.parent / run["run_id"] / "run.lock" for run in runs if run["state"] == "running" and run["run_id"]]
    (study / "parents").mkdir()
    locks = [take_lock(path) for path in (study / "parents" / "example.lock", *held)]
    try:
        yield
    finally:
        for lock in locks:
            os.close(lock)


def _ending(run: Example) -> RunEvent | None:
    match run.state:
        case "completed":
            return RunCompleted(
                status="completed", reason="all epochs are done", epoch=run.epochs, step=run.epochs * STEPS,
                train_seconds=2.0 * run.epochs, peak_memory=2**29,
            )  # fmt: skip
        case "failed":
            return RunFailed(error=FailureOf("memory", "OutOfMemoryError", run.reason))
        case "pruned" | "stopped":
            reason = f"pruned: {run.reason}" if run.state == "pruned" else run.reason
            step = run.epochs * STEPS
            return RunCompleted(status="stopped", reason=reason, epoch=run.epochs, step=step, train_seconds=1.0)
        case _:
            return None


def _write_predictions(folder: Path, hits: int, shift: int) -> None:
    """So many right of 364 test images; which ones are wrong moves with `shift`."""
    labels = np.arange(364, dtype=np.int16) % 10
    wrong = (np.arange(364 - hits) + 3 * shift) % 364
    first = labels.copy()
    first[wrong] = (labels[wrong] + 1) % 10
    classes = np.stack([first, (first + 2) % 10, (first + 3) % 10], axis=1).astype(np.int16)
    tensors = {"labels": labels, "classes": classes, "probabilities": np.full(classes.shape, 0.3, np.float16)}
    (folder / "predictions.safetensors").write_bytes(safetensors.numpy.save(tensors, {"epoch": "8"}))
