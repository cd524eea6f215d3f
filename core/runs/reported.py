"""Reported figures: what a published report claims for an experiment, compared with what a run reached."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Fault
from ..events import EpochCompleted
from ..utils.flatten import flatten
from .record import RunRecord

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


@dataclass(frozen=True, slots=True)
class FullRun:
    """How long a preset trains, and on how many images: what a run must do to be compared with its figures."""

    epochs: int
    train_limit: int = 0


FullRunOf = Callable[[str, ReportedFigure], FullRun | None]
"""The full run behind a preset's own reported figure; None for others, such as a study's for its own runs."""


def no_full_run(preset: str, claim: ReportedFigure) -> FullRun | None:  # noqa: ARG001
    """Where presets are not known: every run counts as full that was not cut short."""
    return None


def standing(claim: ReportedFigure, record: RunRecord, full: FullRun | None = None, seeds: Sequence[float] = ()) -> str:
    """A run compared with a reported figure: the one rule for commands, pages, reports and tables.

    - "reached": whatever came before, also by a run that is not full
    - "not run yet", "not yet": the run waits, or is active and can still reach it
    - "not run in full": it ended early, was planned for fewer epochs than the claim or the preset, or with fewer images
    - "within noise": the mean of three or more `seeds` is at most two of their standard deviations short
    - "short by ..."
    """
    finished = record.status == "completed"
    reached, short = claim.reached(record.epochs, finished), claim.shortfall(record.epochs, finished)
    if reached is not None and short == 0:
        return "reached"
    if not finished and record.status in ("running", "paused", "preparing", "handed_over") and short is None:
        return "not run yet" if record.status == "preparing" and not record.started else "not yet"
    if reached is None or short is None or not _in_full(claim, record, full):
        return "not run in full"
    return _verdict(claim, reached, seeds)


def _in_full(claim: ReportedFigure, record: RunRecord, full: FullRun | None) -> bool:
    """Whether a run was planned to be as long as the claim or the preset asks for, on as many images."""
    if record.started is None:
        return False
    wanted = claim.epochs or (full.epochs if full else 0)
    limit = flatten(record.started.config).get("data.train_limit") or 0
    return record.started.epochs >= wanted and limit == (full.train_limit if full else 0)


def _verdict(claim: ReportedFigure, reached: float, seeds: Sequence[float]) -> str:
    sign = -1 if claim.lower_is_better else 1
    short = sign * (claim.value - reached)
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
