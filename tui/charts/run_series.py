"""A run's curves as lines of a chart, its reported figures as rules, and a note with its current values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.events import DeviceSampled
from ...core.results.curves import Axis, curve, epoch_curve, metrics_of, step_positions
from ...core.runs.record import READING, RunRecord
from ...core.runs.reported import read_reported
from ..format.values import percent
from .drawing import Line, Rule

INKS = {"train": 0, "test": 1, "validation": 2}


@dataclass(frozen=True, slots=True)
class Ghost:
    """The best earlier run of the same preset, drawn behind the current one for comparison."""

    run_id: str
    record: RunRecord


def loss_lines(record: RunRecord, axis: Axis) -> list[Line]:
    """The training loss of every step, and the loss of each split after every epoch."""
    return _lines(record, axis, "loss")


def accuracy_lines(record: RunRecord, axis: Axis, ghost: Ghost | None = None) -> list[Line]:
    """The accuracy of each split after every epoch, and so far in the current one; behind it the ghost's, dimmed."""
    lines = _lines(record, axis, "accuracy")
    if ghost is not None:
        points = curve(ghost.record, "test/accuracy", axis)
        lines.insert(0, Line(f"best {ghost.run_id[-4:]}", points.x, points.y, ink=7, dim=True))
    return lines


def _lines(record: RunRecord, axis: Axis, figure: str) -> list[Line]:
    lines: list[Line] = []
    for metric in metrics_of(record):
        split, _, name = metric.partition("/")
        if name != figure:
            continue
        points = curve(record, metric, axis)
        training = split == "train"
        raw = training and figure == "loss"
        broken = training and record.status == "failed"
        lines.append(
            Line(split, points.x, points.y, ink=INKS[split], spread=raw, smooth=raw, marks=not training, broken=broken)
        )
    return lines


def rate_lines(record: RunRecord, axis: Axis) -> list[Line]:
    """The learning rate."""
    points = epoch_curve(record, "lr", axis)
    return [Line("learning rate", points.x, points.y, ink=3)]


def speed_lines(record: RunRecord, axis: Axis) -> list[Line]:
    """Training images per second."""
    points = epoch_curve(record, "images_per_second", axis)
    return [Line("images/s", points.x, points.y, ink=4)]


def memory_lines(record: RunRecord, axis: Axis, samples: Sequence[DeviceSampled]) -> list[Line]:
    """The memory of the run, and of all that uses the device, in GiB, at the samples kept."""
    lines: list[Line] = []
    for label, name, ink in (("run", "memory_process", 5), ("device", "memory_used", 6)):
        seen = [(sample.step, value) for sample in samples if (value := getattr(sample, name)) is not None]
        x = step_positions(record, [step for step, _ in seen], axis)
        lines.append(Line(label, x, [value / 2**30 for _, value in seen], ink=ink))
    return lines


def reported_rules(record: RunRecord) -> list[Rule]:
    """The reported test accuracies as rules."""
    started = record.started
    figures = read_reported(started.reported if started else ())
    return [
        Rule(figure.value, f"reported {percent(figure.value)} {figure.at}")
        for figure in figures
        if figure.metric == "test/accuracy"
    ]


def loss_note(record: RunRecord) -> str:
    """The latest losses."""
    last = record.epochs[-1] if record.epochs else None
    now = next((step.mean_loss for step in reversed(record.steps) if step.phase == "train"), None)
    train = now if now is not None else last.metrics.get("train/loss") if last else None
    parts = [f"train {train:.3f}" if train is not None else ""]
    parts += [
        f"{split} {last.metrics[f'{split}/loss']:.3f}"
        for split in ("validation", "test")
        if last and f"{split}/loss" in last.metrics
    ]
    return " · ".join(part for part in parts if part)


def accuracy_note(record: RunRecord, ghost: Ghost | None) -> str:
    """The last and the best test accuracy, and the lead over the ghost; before the first epoch, the current stage."""
    if not record.epochs:
        return record.stage if record.status == READING else ""
    last, best = record.epochs[-1].metrics.get("test/accuracy"), record.best
    validation = record.epochs[-1].metrics.get("validation/accuracy")
    parts = [f"validation {percent(validation)}"] if validation is not None else []
    parts.append(f"test {percent(last)}")
    if best:
        parts.append(f"best {percent(best.metrics.get('test/accuracy'))}")
    lead = lead_over(record, ghost) if ghost else None
    if lead is not None:
        parts.append(f"{100 * lead:+.2f} points on {ghost.run_id[-4:]}" if ghost else "")
    return " · ".join(parts)


def lead_over(record: RunRecord, ghost: Ghost) -> float | None:
    """How far a run is ahead of its ghost in test accuracy at the same epoch; None if the ghost has no such epoch."""
    last = record.epochs[-1] if record.epochs else None
    if last is None:
        return None
    there = next((epoch for epoch in ghost.record.epochs if epoch.epoch == last.epoch), None)
    if there is None or "test/accuracy" not in there.metrics:
        return None
    return last.metrics.get("test/accuracy", 0.0) - there.metrics["test/accuracy"]


def run_line(record: RunRecord, letter: str, ink: int) -> Line:
    """One run's curve of test accuracy by epoch, identified by a letter."""
    points = curve(record, "test/accuracy", "epoch")
    return Line(letter, points.x, points.y, ink=ink, letter=letter, broken=record.status == "failed")
