"""The workers of a study: their places, runs and progress, read from the runs' folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...core.events import RunEvent, StepCompleted
from ...core.results.run_result import best_epoch
from ...core.runs.reader import EventReader, open_cached
from ...core.runs.record import RunRecord
from ...core.studies.coordinators import coordinator_slots
from ...core.studies.model import Study, StudyRun
from ..format.bars import images_per_second, run_seconds_left

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A place with its run, or idle; None for unknown values. `doing` is a text for anything other than training."""

    place: str
    run: StudyRun | None = None
    doing: str = "starting"
    epoch: int = 0
    epochs: int | None = None
    share: float = 0.0
    speed: float | None = None
    accuracy: float | None = None
    seconds_left: float | None = None

    @property
    def key(self) -> str:
        """Its key in a table: the run's number, as in the table of runs."""
        return str(self.run.number) if self.run else f"{IDLE} {self.place}"


class WorkersReader:
    """Reads the new events of a study's active runs; to be used in one thread only."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs = folder, folder.parent
        self._open: dict[str, tuple[RunRecord, EventReader]] = {}

    def read(self, study: Study) -> tuple[WorkerStatus, ...]:
        """The active runs, and the idle places, in natural order of places."""
        running = [run for run in study.runs if run.state == "running"]
        known = {run.run_id for run in running}
        self._open = {run_id: kept for run_id, kept in self._open.items() if run_id in known}
        taken = {(run.parent, run.place) for run in running}
        free = {
            place for name, of in coordinator_slots(self.folder).items() for place in of if (name, place) not in taken
        }
        idle = (WorkerStatus(place, doing=IDLE) for place in free)
        return tuple(sorted([*map(self._status, running), *idle], key=_natural_key))

    def _status(self, run: StudyRun) -> WorkerStatus:
        if run.run_id is None or not (self.logs / run.run_id).is_dir():
            return WorkerStatus(run.place, run)
        if run.run_id not in self._open:
            self._open[run.run_id] = open_cached(self.logs / run.run_id)
        record, reader = self._open[run.run_id]
        _fold(reader.read(), record)
        return _status_of(run, record)


def _fold(events: Iterable[RunEvent], record: RunRecord) -> None:
    """Apply new events in order; of the steps only the last, since no others are shown."""
    new_events = list(events)
    last = next((event for event in reversed(new_events) if isinstance(event, StepCompleted)), None)
    for event in new_events:
        if event is last or not isinstance(event, StepCompleted):
            record.apply(event)


def _status_of(run: StudyRun, record: RunRecord) -> WorkerStatus:
    started, step, best = record.started, record.steps[-1] if record.steps else None, best_epoch(record)
    if started is None or record.ending:
        # An earlier attempt ended; the process that resumes the run has not reported anything yet.
        return WorkerStatus(run.place, run, epoch=len(record.epochs), epochs=started.epochs if started else None)
    return WorkerStatus(
        run.place,
        run,
        doing=record.status if record.status != "running" else record.stage,
        epoch=step.epoch if step else len(record.epochs),
        epochs=started.epochs,
        share=min(1.0, record.step / max(1, started.epochs * started.steps_per_epoch)),
        speed=images_per_second(record),
        accuracy=best.metrics["test/accuracy"] if best else None,
        seconds_left=run_seconds_left(record),
    )


def _natural_key(status: WorkerStatus) -> tuple[list[tuple[int, str]], str]:
    """A natural sort key: cuda 2 comes before cuda 10."""
    parts = re.split(r"(\d+)", status.place)
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (0, part) for part in parts], status.key
