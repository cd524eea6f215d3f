"""Curves of a run as arrays: a metric over steps, epochs or training time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..events import EpochCompleted
from ..runs.record import RunRecord

Axis = Literal["step", "epoch", "time"]
AXES: tuple[Axis, ...] = ("step", "epoch", "time")
METRICS = tuple(f"{split}/{figure}" for figure in ("loss", "accuracy") for split in ("train", "validation", "test"))
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points in order: `x` in steps, epochs or seconds of training, `y` in the metric's unit."""

    x: Numbers
    y: Numbers

    def __len__(self) -> int:
        return len(self.x)


def curve(record: RunRecord, metric: str, axis: Axis = "step") -> Curve:
    """A metric of a run: `train/loss` has a point per step, all others a point per epoch.

    In the current epoch, `train/loss` and `train/accuracy` have a point per step event.
    """
    # A damaged log may contain infinite times; points without a finite x become gaps, without a warning.
    with np.errstate(invalid="ignore"):
        match metric:
            case "train/loss":
                return _step_losses(record, axis)
            case "train/accuracy":
                return _concatenated(_of_epochs(record, metric, axis), _current_epoch(record, axis, "accuracy"))
            case _:
                return _of_epochs(record, metric, axis)


def epoch_curve(record: RunRecord, figure: Literal["lr", "images_per_second"], axis: Axis = "step") -> Curve:
    """The learning rate, or training images per second: a point per epoch, and per step event of the current one."""
    values = [getattr(epoch, figure) for epoch in record.epochs]
    ended = Curve(_epoch_ends(record.epochs, axis), np.array(values, np.float64))
    return _concatenated(ended, _current_epoch(record, axis, figure))


def step_positions(record: RunRecord, steps: Sequence[int], axis: Axis) -> Numbers:
    """Where optimizer steps stand on an axis."""
    at = np.array(steps, np.float64)
    if axis == "step" or record.started is None:
        return at
    if axis == "epoch":
        return at / max(1, record.started.steps_per_epoch)
    now = _current_epoch(record, "time", "loss").x[-1:]
    known = np.array([0, *(epoch.step for epoch in record.epochs), *([record.step] if len(now) else [])], np.float64)
    return np.interp(at, known, np.concatenate([[0.0], _epoch_ends(record.epochs, "time"), now]))


def metrics_of(record: RunRecord) -> tuple[str, ...]:
    """The metrics that a run has, in a fixed order."""
    known = record.epochs[-1].metrics if record.epochs else {"train/loss": 0.0, "train/accuracy": 0.0}
    return tuple(name for name in METRICS if name in known)


def seconds_to(record: RunRecord, accuracy: float) -> float | None:
    """Seconds of training until the test accuracy first reached a value; None where it never did."""
    seconds = 0.0
    for epoch in record.epochs:
        seconds += epoch.train_seconds
        if epoch.metrics.get("test/accuracy", -1.0) >= accuracy:
            return seconds
    return None


def step_losses(epoch: EpochCompleted) -> NDArray[np.float32]:
    """The loss of every step of an epoch."""
    return np.frombuffer(epoch.step_losses, "<f4")


def _step_losses(record: RunRecord, axis: Axis) -> Curve:
    parts: list[Curve] = []
    seconds = 0.0
    for epoch in record.epochs:
        losses = step_losses(epoch).astype(np.float64)
        share = np.arange(1, len(losses) + 1) / max(1, len(losses))
        parts.append(Curve(_x_values(epoch, share, seconds, axis), losses))
        seconds += epoch.train_seconds
    return _concatenated(*parts, _current_epoch(record, axis, "loss"))


def _x_values(epoch: EpochCompleted, share: Numbers, seconds: float, axis: Axis) -> Numbers:
    """The x values of points at the given fractions of an epoch."""
    match axis:
        case "step":
            return epoch.step - len(share) + share * len(share)
        case "epoch":
            return epoch.epoch - 1 + share
        case "time":
            return seconds + share * epoch.train_seconds


def _of_epochs(record: RunRecord, metric: str, axis: Axis) -> Curve:
    seen = [epoch for epoch in record.epochs if metric in epoch.metrics]
    return Curve(_epoch_ends(seen, axis), np.array([epoch.metrics[metric] for epoch in seen], np.float64))


def _epoch_ends(epochs: Sequence[EpochCompleted], axis: Axis) -> Numbers:
    """Where the ends of these epochs stand on an axis."""
    match axis:
        case "step":
            return np.array([epoch.step for epoch in epochs], np.float64)
        case "epoch":
            return np.array([epoch.epoch for epoch in epochs], np.float64)
        case "time":
            return np.cumsum(np.array([epoch.train_seconds for epoch in epochs], np.float64))


def _current_epoch(
    record: RunRecord, axis: Axis, figure: Literal["loss", "accuracy", "lr", "images_per_second"]
) -> Curve:
    """The points of the current epoch, one per step event."""
    seen = [step for step in record.steps if step.phase == "train"]
    started = record.started
    per_epoch = started.steps_per_epoch if started else 1
    images = started.train_images / per_epoch if started else 1.0
    match axis:
        case "step":
            x = [float(step.step) for step in seen]
        case "epoch":
            x = [step.epoch - 1 + step.batch / step.batches for step in seen]
        case "time":
            before = sum(epoch.train_seconds for epoch in record.epochs)
            x = [before + step.batch * images / max(1e-9, step.images_per_second) for step in seen]
    return Curve(np.array(x, np.float64), np.array([getattr(step, figure) for step in seen], np.float64))


def _concatenated(*parts: Curve) -> Curve:
    if not parts:
        return Curve(np.empty(0), np.empty(0))
    return Curve(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))
