"""Several runs one after another, as the form's lists of values plan them."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.record import RunRecord
from tui.messages import Request


@dataclass(slots=True)
class Sweep:
    """The runs of a sweep in order, and what became of those that were begun."""

    requests: list[Request]
    records: list[RunRecord] = field(default_factory=list[RunRecord])
    stopped: bool = False

    def next(self) -> Request | None:
        """The next run to begin; None when all were, or the sweep was stopped."""
        if self.stopped or len(self.records) >= len(self.requests):
            return None
        return self.requests[len(self.records)]

    def steps(self) -> tuple[int, int]:
        """Optimizer steps done, and in all as far as the runs begun tell: a run that ended early counts what it did."""
        total = [record.step if record.ending else _planned(record) for record in self.records]
        typical = max((_planned(record) for record in self.records), default=1)
        left = len(self.requests) - len(self.records)
        return sum(record.step for record in self.records), sum(total) + left * typical


def _planned(record: RunRecord) -> int:
    return record.started.epochs * record.started.steps_per_epoch if record.started else 0
