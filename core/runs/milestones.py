"""Time to accuracy: when a run first reached each whole percent (as in DAWNBench, Coleman et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..events import EpochCompleted


@dataclass(frozen=True, slots=True)
class Milestone:
    """The first epoch whose accuracy is at least `percent`, with the time and energy used until it was evaluated.

    `seconds` include evaluation, `train_seconds` do not; `energy` is in joules, None where it is not known.
    """

    percent: int
    epoch: int
    seconds: float
    train_seconds: float
    energy: float | None


def milestones(epochs: Iterable[EpochCompleted]) -> tuple[Milestone, ...]:
    """One milestone for each epoch that reached a new whole percent of test accuracy, the highest that it reached."""
    found: list[Milestone] = []
    seconds = train_seconds = 0.0
    energy: float | None = 0.0
    for epoch in epochs:
        seconds += epoch.seconds
        train_seconds += epoch.train_seconds
        energy = None if energy is None or epoch.energy is None else energy + epoch.energy
        percent = _whole_percent(epoch.metrics.get("test/accuracy", 0.0))
        if percent > (found[-1].percent if found else 0):
            found.append(Milestone(percent, epoch.epoch, seconds, train_seconds, energy))
    return tuple(found)


def _whole_percent(accuracy: float) -> int:
    # The tiny addition keeps 0.57 * 100 from becoming 56.99999.
    return math.floor(min(1.0, max(0.0, accuracy)) * 100 + 1e-9) if math.isfinite(accuracy) else 0


def time_to(percent: float, reached: Iterable[Milestone]) -> Milestone | None:
    """The first milestone at or above an accuracy in percent; None where it was never reached."""
    return next((item for item in reached if item.percent >= percent), None)
