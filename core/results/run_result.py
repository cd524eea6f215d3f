"""The result of one run as a row: settings, accuracies, time and memory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from ..events import EpochCompleted
from ..runs.layout import is_run
from ..runs.milestones import milestones, time_to
from ..runs.reader import load_record
from ..runs.record import RunRecord
from ..runs.reported import ReportedFigure, read_reported
from ..studies.model import RunState, StudyRun
from ..utils.flatten import Settings, flatten
from .device_samples import mean_utilization
from .statistics import Interval, wilson


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A test accuracy as a fraction, its epoch, and its 95 % confidence interval over the test images."""

    value: float
    epoch: int
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The figures of a run; None where there is none (yet). Times in seconds, memory in bytes, the rest fractions."""

    number: int
    label: str
    state: RunState
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
    seed_group_key: str = field(default="", repr=False)
    """A key shared by runs that differ only in their seed; "" where the settings are not known."""

    @property
    def gap(self) -> float | None:
        """Train accuracy minus test accuracy, both of the last epoch."""
        if self.train_accuracy is None or self.final is None:
            return None
        return self.train_accuracy - self.final.value

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        return len(self.record.epochs)

    @property
    def finished(self) -> bool:
        """Whether the run completed."""
        return self.state == "completed"

    @property
    def model(self) -> str:
        """The name of its model."""
        return str(self.config.get("model.name", ""))

    @property
    def seed(self) -> Any:
        """The seed of the run; None where it is not known."""
        return self.config.get("training.seed")

    def to_json(self) -> dict[str, Any]:
        """The figures in JSON's types."""
        accuracies = {name: asdict(found) if (found := getattr(self, name)) else None for name in ("final", "best")}
        plain = ("number", "label", "state", "reason", "run_id", "preset", "epochs", "train_accuracy", "gap",
                 "train_seconds", "images_per_second", "utilization", "peak_memory", "parameters")  # fmt: skip
        return {**{name: getattr(self, name) for name in plain}, **accuracies}


def read_result_row(run: StudyRun, logs: Path) -> ResultRow:
    """The row of one run of a study, from its run folder where there is one."""
    folder = logs / run.run_id if run.run_id else None
    if folder is None or not is_run(folder):
        return _row(run, RunRecord())
    return _row(run, load_record(folder), folder)


def _row(run: StudyRun, record: RunRecord, folder: Path | None = None) -> ResultRow:
    last, top, started = record.epochs[-1] if record.epochs else None, best_epoch(record), record.started
    train = last.metrics.get("train/accuracy") if last else None
    config = flatten(started.config if started else None) or flatten(run.config)
    return ResultRow(
        number=run.number,
        label=run.label,
        state=run.state,
        reason=run.reason if run.state != "completed" else "",
        run_id=run.run_id,
        folder=folder,
        preset=run.preset or (started.preset if started else ""),
        config=config,
        reported=read_reported(run.reported) or read_reported(started.reported if started else ()),
        record=record,
        final=_accuracy(record, last),
        best=_accuracy(record, top),
        train_accuracy=train if train is not None and isfinite(train) else None,
        train_seconds=record.train_seconds if record.epochs else None,
        images_per_second=record.images_per_second,
        utilization=mean_utilization(folder) if folder else None,
        peak_memory=record.peak,
        parameters=started.parameters if started else None,
        seed_group_key=_seed_group_key(config),
    )


def _seed_group_key(config: Settings) -> str:
    settings = {path: value for path, value in config.items() if path != "training.seed"}
    return json.dumps(settings, sort_keys=True, default=str) if settings else ""


def best_epoch(record: RunRecord) -> EpochCompleted | None:
    """The first epoch with the highest test accuracy; None where no epoch has one."""
    seen = [epoch for epoch in record.epochs if isfinite(epoch.metrics.get("test/accuracy", float("nan")))]
    return max(seen, key=lambda epoch: epoch.metrics["test/accuracy"], default=None)


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
