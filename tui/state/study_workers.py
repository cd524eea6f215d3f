"""What works on a study now: where, on which run, and how far that is, from the runs' own directories."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...core.events import RunEvent, StepCompleted
from ...core.results.run_result import best_epoch
from ...core.runs.reader import EventReader, open_cached
from ...core.runs.record import RunRecord
from ...core.studies.coordinators import places
from ...core.studies.model import Study, StudyRun
from ..format.bars import images_per_second, run_seconds_left

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Working:
    """One place with its run, or none; None for what is not told. `doing` are words for anything but training."""

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
        """What it is called in a table: a run's number, as in the table of runs."""
        return str(self.run.number) if self.run else f"{IDLE} {self.place}"


class WorkersReader:
    """Reads what the running runs of a study say, each from where it was read to before; in one thread only."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs = folder, folder.parent
        self._open: dict[str, tuple[RunRecord, EventReader]] = {}

    def read(self, study: Study) -> tuple[Working, ...]:
        """The runs that train now, and the places that wait for one, as a person counts places."""
        running = [run for run in study.runs if run.state == "running"]
        known = {run.run_id for run in running}
        self._open = {run_id: kept for run_id, kept in self._open.items() if run_id in known}
        taken = {(run.parent, run.place) for run in running}
        free = {place for name, of in places(self.folder).items() for place in of if (name, place) not in taken}
        idle = (Working(place, doing=IDLE) for place in free)
        return tuple(sorted([*map(self._working, running), *idle], key=_natural))

    def _working(self, run: StudyRun) -> Working:
        if run.run_id is None or not (self.logs / run.run_id).is_dir():
            return Working(run.place, run)
        if run.run_id not in self._open:
            self._open[run.run_id] = open_cached(self.logs / run.run_id)
        record, reader = self._open[run.run_id]
        _fold(reader.read(), record)
        return _seen(run, record)


def _fold(events: Iterable[RunEvent], record: RunRecord) -> None:
    """Take in what is new, in its order; of the steps the last, for no more of them is shown."""
    news = list(events)
    last = next((event for event in reversed(news) if isinstance(event, StepCompleted)), None)
    for event in news:
        if event is last or not isinstance(event, StepCompleted):
            record.apply(event)


def _seen(run: StudyRun, record: RunRecord) -> Working:
    started, step, best = record.started, record.steps[-1] if record.steps else None, best_epoch(record)
    if started is None or record.ending:
        # An earlier attempt ended; the process that goes on with it has said nothing yet.
        return Working(run.place, run, epoch=len(record.epochs), epochs=started.epochs if started else None)
    return Working(
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


def _natural(working: Working) -> tuple[list[tuple[int, str]], str]:
    """Places in the order a person counts them: cuda 2 before cuda 10."""
    parts = re.split(r"(\d+)", working.place)
    return [(int(part), "") if part.isdecimal() and len(part) < 10 else (0, part) for part in parts], working.key
