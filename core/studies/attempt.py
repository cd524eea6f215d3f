"""One attempt at a run of a study, from its begin to its end: what trains it, what its log says, how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..events import EpochCompleted, FolderChanged
from ..processes.launch import Worker
from ..runs.layout import RUN_ID
from ..runs.reader import EventReader
from ..runs.record import RunRecord
from .events import RunSaid, is_told
from .model import KILLED, Study, StudyRun
from .store import settled_run

if TYPE_CHECKING:
    from optuna.trial import Trial

MOST_RETRIES = 1
"""How often a run that was killed is tried again."""


@dataclass(slots=True)
class Attempt:
    """A run that trains in a slot of this process, with its trial in the queue."""

    number: int
    run_id: str
    trial: Trial
    worker: Worker
    reader: EventReader
    earlier: int
    """The attempts that its log had before."""
    record: RunRecord = field(default_factory=RunRecord)
    """What its log said so far."""
    reported: set[int] = field(default_factory=set[int])
    unreported: list[EpochCompleted] = field(default_factory=list[EpochCompleted])
    """Epochs that the queue is yet to be told of."""
    ended: bool = False
    """Whether it was gone before its log was last read."""
    outcome: StudyRun | None = None
    """How it ended, once that is known."""
    asked: bool = False
    """Whether this process asked it to stop."""

    def ask(self, reason: str) -> None:
        """Ask it to stop, once."""
        if not self.asked:
            self.asked = True
            self.worker.send("stop", reason)

    def listen(self) -> Iterator[RunSaid]:
        """What its log says new."""
        self.ended = self.worker.ended
        self.reader.find()
        for event in self.reader.read():
            self.record.apply(event)
            if isinstance(event, EpochCompleted):
                self.unreported.append(event)
            if isinstance(event, FolderChanged) and RUN_ID.fullmatch(event.run_id):
                self.run_id = event.run_id
            if event.attempt > self.earlier and is_told(event):
                yield RunSaid(self.number, self.run_id, event)


def outcome_of(attempt: Attempt, logs: Path, begun: StudyRun) -> StudyRun:
    """How one that ended did: one that was killed is tried again, one that a person stopped is on hold."""
    run = settled_run(logs, begun)
    if run.state in ("waiting", "stopped") and (failure := attempt.worker.failure()):
        run = replace(run, state="failed", reason=failure.error.message)
    if not run.to_do or attempt.asked:
        return run
    if run.reason in ("", KILLED) or run.reason.startswith("signal "):
        return _died(replace(run, run_id=begun.run_id), attempt.worker.exit_text())
    return settled_run(logs, replace(begun, wish="hold"))


def _died(run: StudyRun, death: str) -> StudyRun:
    deaths = run.deaths + 1
    if deaths > MOST_RETRIES:
        return replace(run, deaths=deaths, state="failed", reason=f"{death}, {deaths} times")
    return replace(run, deaths=deaths, state="stopped", reason=f"{death}; tried again")


def best_figure(study: Study, record: RunRecord) -> float | None:
    """The best figure of a run, by the study's own measure."""
    search = study.search
    metric, up = (search.metric, search.direction == "maximize") if search else ("test/accuracy", True)
    seen = [epoch.metrics[metric] for epoch in record.epochs if metric in epoch.metrics]
    return (max(seen) if up else min(seen)) if seen else None
