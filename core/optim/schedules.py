"""Learning-rate schedules: the factor of the learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import (
    ConstantOptions,
    CosineOptions,
    OneCycleOptions,
    PlateauOptions,
    ScheduleOptions,
    StepOptions,
    TriangularOptions,
)

Factor = Callable[[float], float]
"""From the (fractional) epochs since the start to the factor."""


@dataclass(slots=True)
class Schedule:
    """The factor of the learning rate over a run; only a plateau schedule has state."""

    factor: Factor
    per_step: bool
    steps_per_epoch: int
    warmup_epochs: float
    plateau: PlateauOptions | None = None
    scale: float = 1.0
    best: float = -math.inf
    bad_epochs: int = 0

    def at(self, step: int) -> float:
        """The factor for optimizer step `step`, counted from 0."""
        epochs = step / self.steps_per_epoch
        if epochs < self.warmup_epochs:
            return (step + 1) / max(1.0, self.warmup_epochs * self.steps_per_epoch)
        return self.scale * self.factor(epochs if self.per_step else float(math.floor(epochs)))

    def epoch_ended(self, figure: float) -> None:
        """Report the watched metric of an epoch; larger is better."""
        if self.plateau is None:
            return
        if figure > self.best:
            self.best, self.bad_epochs = figure, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.plateau.patience:
            self.scale, self.bad_epochs = self.scale * self.plateau.factor, 0

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint; `best` is None until an epoch has ended."""
        best = None if math.isinf(self.best) else self.best
        return {"scale": self.scale, "best": best, "bad_epochs": self.bad_epochs}

    def restore(self, state: dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self.scale, self.bad_epochs = float(state["scale"]), int(state["bad_epochs"])
        self.best = -math.inf if state["best"] is None else float(state["best"])


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def _schedule(options: ScheduleOptions, steps_per_epoch: int, factor: Factor, per_step: bool = False) -> Schedule:
    return Schedule(factor, per_step, steps_per_epoch, options.warmup_epochs)


def constant(options: ConstantOptions, epochs: int, steps_per_epoch: int) -> Schedule:  # noqa: ARG001
    """The factor is 1 throughout."""
    return _schedule(options, steps_per_epoch, lambda _: 1.0)


def cosine(options: CosineOptions, epochs: int, steps_per_epoch: int) -> Schedule:
    """Half a cosine from 1 to `final`, starting where the warm-up ends."""
    length = max(1e-9, (options.epochs or epochs) - options.warmup_epochs)

    def factor(passed: float) -> float:
        return options.final + (1 - options.final) * _half_cosine((passed - options.warmup_epochs) / length)

    return _schedule(options, steps_per_epoch, factor, options.per == "step")


def step(options: StepOptions, epochs: int, steps_per_epoch: int) -> Schedule:  # noqa: ARG001
    """Multiply by `factor` every `every` epochs."""
    return _schedule(options, steps_per_epoch, lambda passed: options.factor ** int(passed // options.every))


def one_cycle(options: OneCycleOptions, epochs: int, steps_per_epoch: int) -> Schedule:
    """Half a cosine up from `initial` to 1, then half a cosine down to `final`."""

    def factor(passed: float) -> float:
        progress = passed / epochs
        if progress < options.rise:
            return options.initial + (1 - options.initial) * (1 - _half_cosine(progress / options.rise))
        return options.final + (1 - options.final) * _half_cosine((progress - options.rise) / (1 - options.rise))

    return _schedule(options, steps_per_epoch, factor, per_step=True)


def triangular(options: TriangularOptions, epochs: int, steps_per_epoch: int) -> Schedule:
    """A straight line up from `initial` to 1, then one down to `final`."""

    def factor(passed: float) -> float:
        progress = min(1.0, passed / epochs)
        if progress < options.rise:
            return options.initial + (1 - options.initial) * progress / options.rise
        return options.final + (1 - options.final) * (1 - progress) / (1 - options.rise)

    return _schedule(options, steps_per_epoch, factor, per_step=True)


def plateau(options: PlateauOptions, epochs: int, steps_per_epoch: int) -> Schedule:  # noqa: ARG001
    """Multiply by `factor` when the metric reported by `epoch_ended` has not improved for over `patience` epochs."""
    schedule = _schedule(options, steps_per_epoch, lambda _: 1.0)
    schedule.plateau = options
    return schedule
