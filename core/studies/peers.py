"""What other processes and people do with the runs of a study, told as this process tells of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..runs.layout import is_run
from ..runs.reader import EventReader, load_record, tail_reader
from .events import RunBegan, RunEnded, RunSaid, StudyEvent, is_told
from .model import Study, StudyRun


class Elsewhere:
    """Tells what changed since the last look."""

    def __init__(self, logs: Path, own: str, study: Study) -> None:
        """Look at the runs of a study from now on, but for those that the parent `own` trains."""
        self._logs, self._own = logs, own
        self._states = {run.number: "" if run.state == "running" else run.state for run in study.runs}
        self._readers: dict[int, EventReader] = {}

    def know(self, run: StudyRun) -> None:
        """Take a run as told."""
        self._states[run.number] = run.state

    def look(self, study: Study) -> Iterator[StudyEvent]:
        """What began, what the logs of those that train say new, and what changed otherwise, in order of the runs."""
        for run in study.runs:
            if run.state == "running" and run.parent != self._own:
                yield from self._follow(run)
            elif run.state != self._states.get(run.number):
                yield from self._ended(run)
            self.know(run)

    def _follow(self, run: StudyRun) -> Iterator[StudyEvent]:
        if self._states.get(run.number) != "running" or run.number not in self._readers:
            folder = self._logs / str(run.run_id)
            self._readers[run.number] = tail_reader(folder)
            resumed = is_run(folder) and load_record(folder).attempt > 1
            yield RunBegan(run, run.place, resumed, elsewhere=True)
        yield from self._said(run)

    def _ended(self, run: StudyRun) -> Iterator[StudyEvent]:
        if run.state == "running":
            return
        yield from self._said(run)
        self._readers.pop(run.number, None)
        yield RunEnded(run, elsewhere=True)

    def _said(self, run: StudyRun) -> Iterator[StudyEvent]:
        if reader := self._readers.get(run.number):
            for event in reader.read():
                if is_told(event):
                    yield RunSaid(run.number, str(run.run_id), event)
