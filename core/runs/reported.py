"""Reported figures: what a published report claims for an experiment, compared with what a run reached."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Fault
from ..events import EpochCompleted

_AT = re.compile(r"best|final|(?:by )?epoch ([1-9]\d{0,6})")


@dataclass(frozen=True, slots=True)
class ReportedFigure:
    """One claim: a metric such as `test/accuracy`, the epochs it refers to, and its value (a fraction, or a loss).

    `at` is `best`, `final`, `epoch N`, or `by epoch N`: the best of the first N epochs.
    """

    metric: str
    at: str
    value: float

    @property
    def lower_is_better(self) -> bool:
        """True for a loss."""
        return self.metric.endswith("/loss")

    @property
    def epochs(self) -> int | None:
        """The epoch that the claim refers to; None where it refers to the whole run."""
        match = _AT.fullmatch(self.at)
        return int(match[1]) if match and match[1] else None

    def reached(self, epochs: Sequence[EpochCompleted], finished: bool) -> float | None:
        """The figure of a run with these epochs that corresponds to the claim; None while there is none."""
        seen = [epoch for epoch in epochs if self.metric in epoch.metrics]
        number = self.epochs
        if self.at == "final":
            return seen[-1].metrics[self.metric] if seen and finished else None
        if self.at.startswith("epoch"):
            return next((epoch.metrics[self.metric] for epoch in seen if epoch.epoch == number), None)
        figures = [epoch.metrics[self.metric] for epoch in seen if number is None or epoch.epoch <= number]
        if not figures:
            return None
        return min(figures) if self.lower_is_better else max(figures)

    def shortfall(self, epochs: Sequence[EpochCompleted], finished: bool) -> float | None:
        """How far a run falls short of the claim, 0 where it does not; None while it can still reach it."""
        reached = self.reached(epochs, finished)
        if reached is None:
            return None
        short = max(0.0, reached - self.value if self.lower_is_better else self.value - reached)
        return None if short and not finished and self._open(epochs) else short

    def _open(self, epochs: Sequence[EpochCompleted]) -> bool:
        """Whether later epochs still count."""
        return self.epochs is None or epochs[-1].epoch < self.epochs


def verdict(claim: ReportedFigure, reached: float, seeds: Sequence[float] = ()) -> str:
    """Compare a run's figure with a claim: "reached", "within noise", or "short by ...".

    Within noise: the mean of three or more `seeds` is at most two of their standard deviations short of the claim.
    """
    sign = -1 if claim.lower_is_better else 1
    short = sign * (claim.value - reached)
    if short <= 0:
        return "reached"
    if len(seeds) >= 3 and sign * (claim.value - statistics.mean(seeds)) <= 2 * statistics.stdev(seeds):
        return "within noise"
    return f"short by {short:.4f}" if claim.lower_is_better else f"short by {100 * short:.2f} points"


def parse_reported(content: Any) -> tuple[ReportedFigure, ...]:
    """Parse a list of tables with the keys metric, at and value.

    Raises:
        ConfigError: the content is not of that form.
    """
    if not isinstance(content, list | tuple):
        raise ConfigError([Fault("reported", "must be a list of tables: write [[reported]]")])
    return tuple(_figure(item, index) for index, item in enumerate(content))


def read_reported(content: Any) -> tuple[ReportedFigure, ...]:
    """The reported figures in a log; none where they are not valid."""
    try:
        return parse_reported(content)
    except ConfigError:
        return ()


def _figure(item: Any, index: int) -> ReportedFigure:
    place = f"reported.{index + 1}"
    if not isinstance(item, dict) or set(item) != {"metric", "at", "value"}:
        raise ConfigError([Fault(place, "must have metric, at and value, nothing else")])
    metric, at, value = item["metric"], item["at"], item["value"]
    if not isinstance(metric, str) or not re.fullmatch(r"(train|validation|test)/(accuracy|loss)", metric):
        raise ConfigError([Fault(f"{place}.metric", "must be train, validation or test/accuracy or /loss")])
    if not isinstance(at, str) or not _AT.fullmatch(at):
        raise ConfigError([Fault(f"{place}.at", "must be best, final, 'epoch N' or 'by epoch N'")])
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ConfigError([Fault(f"{place}.value", "must be a finite number")])
    return ReportedFigure(metric, at, float(value))
