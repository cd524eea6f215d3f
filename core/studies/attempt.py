"""One attempt at a run of a study: its worker, the events in its log, and how it ended."""

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
from .events import RunEventForwarded, is_forwarded
from .model import KILLED, Study, StudyRun
from .store import current_run

if TYPE_CHECKING:
    from optuna.trial import Trial

MAX_RETRIES = 1
"""How often a run that was killed is tried again."""


@dataclass(slots=True)
class Attempt:
    """A run that trains in a slot of this process, and its trial in the queue."""

    number: int
    run_id: str
    trial: Trial
    worker: Worker
    reader: EventReader
    earlier_attempts: int
    """The number of attempts in its log before this one."""
    record: RunRecord = field(default_factory=RunRecord)
    """The record of its events so far."""
    reported: set[int] = field(default_factory=set[int])
    unreported: list[EpochCompleted] = field(default_factory=list[EpochCompleted])
    """Epochs that have not been reported to the queue yet."""
    ended: bool = False
    """Whether its worker had exited before the log was last read."""
    outcome: StudyRun | None = None
    """The run as it ended, once that is known."""
    stop_requested: bool = False
    """Whether this process sent it a stop."""

    def request_stop(self, reason: str) -> None:
        """Send it a stop, once."""
        if not self.stop_requested:
            self.stop_requested = True
            self.worker.send("stop", reason)

    def new_events(self) -> Iterator[RunEventForwarded]:
        """The new events in its log, as events of the study."""
        self.ended = self.worker.ended
        self.reader.find()
        for event in self.reader.read():
            self.record.apply(event)
            if isinstance(event, EpochCompleted):
                self.unreported.append(event)
            if isinstance(event, FolderChanged) and RUN_ID.fullmatch(event.run_id):
                self.run_id = event.run_id
            if event.attempt > self.earlier_attempts and is_forwarded(event):
                yield RunEventForwarded(self.number, self.run_id, event)


def outcome_of(attempt: Attempt, logs: Path, started: StudyRun) -> StudyRun:
    """The state of a run after an attempt: one that was killed is tried again, one that a user stopped is on hold."""
    run = current_run(logs, started)
    if run.state in ("waiting", "stopped") and (failure := attempt.worker.failure()):
        run = replace(run, state="failed", reason=failure.error.message)
    if not run.to_do or attempt.stop_requested:
        return run
    if run.reason in ("", KILLED) or run.reason.startswith("signal "):
        return _after_death(replace(run, run_id=started.run_id), attempt.worker.exit_text())
    return current_run(logs, replace(started, wish="hold"))


def _after_death(run: StudyRun, death: str) -> StudyRun:
    deaths = run.deaths + 1
    if deaths > MAX_RETRIES:
        return replace(run, deaths=deaths, state="failed", reason=f"{death}, {deaths} times")
    return replace(run, deaths=deaths, state="stopped", reason=f"{death}; tried again")


def best_figure(study: Study, record: RunRecord) -> float | None:
    """The best value of the study's metric in a run."""
    search = study.search
    metric, up = (search.metric, search.direction == "maximize") if search else ("test/accuracy", True)
    seen = [epoch.metrics[metric] for epoch in record.epochs if metric in epoch.metrics]
    return (max(seen) if up else min(seen)) if seen else None
