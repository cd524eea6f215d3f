"""One run of a study as a row of figures: what it was made with, what it reached, what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from ..events import EpochCompleted
from ..runs.index import RunRow, read_row
from ..runs.layout import is_run
from ..runs.milestones import milestones, time_to
from ..runs.reader import load_record
from ..runs.record import RunRecord
from ..runs.reported import ReportedFigure, claims
from ..utils.flatten import Settings, flat
from .declaration import DeclaredRun, State
from .device_samples import mean_utilization
from .statistics import Interval, wilson

PRUNED = "pruned: "
"""What the reason of a run begins with that a search stopped because it was no good."""
_STATES: Mapping[str, State] = {
    "completed": "completed", "failed": "failed", "unreadable": "failed", "running": "running", "paused": "running",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A test accuracy as a fraction, the epoch it belongs to, and its 95 % interval over the test images."""

    value: float
    epoch: int
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A run's figures; None where it has none (yet). Times in seconds, memory in bytes, the rest fractions."""

    number: int
    label: str
    state: State
    reason: str
    run_id: str | None
    folder: Path | None
    preset: str
    config: Settings
    reported: tuple[ReportedFigure, ...]
    record: RunRecord = field(repr=False)
    final: Accuracy | None = None
    best: Accuracy | None = None
    train_accuracy: float | None = None
    train_seconds: float | None = None
    images_per_second: float | None = None
    utilization: float | None = None
    peak_memory: int | None = None
    parameters: int | None = None
    kin: str = field(default="", repr=False)
    """What it has in common with runs that differ only in their seed; "" where its settings are not known."""

    @property
    def gap(self) -> float | None:
        """The train accuracy less the test accuracy, both of the last epoch."""
        if self.train_accuracy is None or self.final is None:
            return None
        return self.train_accuracy - self.final.value

    @property
    def epochs(self) -> int:
        """Whole epochs done."""
        return len(self.record.epochs)

    @property
    def finished(self) -> bool:
        """Whether it trained to its own end."""
        return self.state == "completed"

    @property
    def model(self) -> str:
        """The name of its model."""
        return str(self.config.get("model.name", ""))

    @property
    def seed(self) -> Any:
        """The seed it was made with; None where that is not told."""
        return self.config.get("training.seed")

    def to_json(self) -> dict[str, Any]:
        """The figures in JSON's types."""
        accuracies = {name: asdict(found) if (found := getattr(self, name)) else None for name in ("final", "best")}
        plain = ("number", "label", "state", "reason", "run_id", "preset", "epochs", "train_accuracy", "gap",
                 "train_seconds", "images_per_second", "utilization", "peak_memory", "parameters")  # fmt: skip
        return {**{name: getattr(self, name) for name in plain}, **accuracies}


def read_result_row(declared: DeclaredRun, logs: Path, row: RunRow | None = None) -> ResultRow:
    """The row of one configuration, from its run's own directory where it has one; `row` where that was read."""
    folder = logs / declared.run_id if declared.run_id else None
    if folder is None or not is_run(folder):
        gone = declared.run_id is not None and declared.state not in ("waiting", "failed")
        reason = declared.reason or ("its run directory is not there" if gone else "")
        return _row(declared, "waiting" if gone else declared.state, reason, flat(declared.config), RunRecord())
    run = row or read_row(folder)
    record = load_record(folder)
    config = flat(run.header.get("config")) or flat(declared.config)
    state, reason = _state(declared, run, record)
    begun = record.started.reported if record.started else ()
    reported = declared.reported or claims(run.header.get("reported")) or claims(begun)
    return _row(declared, state, reason, config, record, folder, reported, mean_utilization(folder))


def _state(declared: DeclaredRun, run: RunRow, record: RunRecord) -> tuple[State, str]:
    """What the run's own log says; that a stopped run was pruned, or given up, its study knows as well."""
    reason = run.problem or record.reason
    state = _STATES.get(run.status, "stopped")
    if state == "stopped" and (reason.startswith(PRUNED) or declared.state == "pruned"):
        return "pruned", (declared.reason or reason).removeprefix(PRUNED)
    if state == "stopped" and declared.state == "failed":
        return "failed", declared.reason or reason
    return state, reason or ("its process was killed" if run.status == "died" else "")


def _row(
    declared: DeclaredRun,
    state: State,
    reason: str,
    config: Settings,
    record: RunRecord,
    folder: Path | None = None,
    reported: tuple[ReportedFigure, ...] = (),
    utilization: float | None = None,
) -> ResultRow:
    last, top = record.epochs[-1] if record.epochs else None, best_epoch(record)
    train = last.metrics.get("train/accuracy") if last else None
    return ResultRow(
        number=declared.number,
        label=declared.label,
        state=state,
        reason=reason if state != "completed" else "",
        run_id=declared.run_id,
        folder=folder,
        preset=declared.preset or (record.started.preset if record.started else ""),
        config=config,
        reported=reported or declared.reported,
        record=record,
        final=_accuracy(record, last),
        best=_accuracy(record, top),
        train_accuracy=train if train is not None and isfinite(train) else None,
        train_seconds=record.train_seconds if record.epochs else None,
        images_per_second=record.images_per_second,
        utilization=utilization,
        peak_memory=record.peak,
        parameters=record.started.parameters if record.started else None,
        kin=_kin(config),
    )


def _kin(config: Settings) -> str:
    settings = {path: value for path, value in config.items() if path != "training.seed"}
    return json.dumps(settings, sort_keys=True, default=str) if settings else ""


def best_epoch(record: RunRecord, metric: str = "test/accuracy") -> EpochCompleted | None:
    """The first epoch with the highest value of a metric, the lowest for a loss; None where no epoch has it."""
    seen = [epoch for epoch in record.epochs if isfinite(epoch.metrics.get(metric, float("nan")))]
    sign = -1 if metric.endswith("/loss") else 1
    return max(seen, key=lambda epoch: sign * epoch.metrics[metric], default=None)


def _accuracy(record: RunRecord, epoch: EpochCompleted | None) -> Accuracy | None:
    value = epoch.metrics.get("test/accuracy") if epoch else None
    if epoch is None or value is None or not isfinite(value):
        return None
    return Accuracy(value, epoch.epoch, wilson(value, record.started.test_images if record.started else 0))


def seconds_to_percent(record: RunRecord) -> dict[int, float]:
    """Seconds of training to each whole percent of test accuracy that a run reached."""
    reached = milestones(record.epochs)
    highest = reached[-1].percent if reached else 0
    found = {percent: time_to(percent, reached) for percent in range(1, highest + 1)}
    return {percent: milestone.train_seconds for percent, milestone in found.items() if milestone}
