"""Events of peers: what other processes, or the user, do with the runs of a study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..runs.layout import is_run
from ..runs.reader import EventReader, load_record, tail_reader
from .events import RunEnded, RunEventForwarded, RunStartedInStudy, StudyEvent, is_forwarded
from .model import Study, StudyRun


class PeerEvents:
    """Yields events for the changes since the last poll."""

    def __init__(self, logs: Path, own: str, study: Study) -> None:
        """Watch the runs of a study from now on, except those of the coordinator `own`."""
        self._logs, self._own = logs, own
        self._states = {run.number: "" if run.state == "running" else run.state for run in study.runs}
        self._readers: dict[int, EventReader] = {}

    def mark_known(self, run: StudyRun) -> None:
        """Note the state of a run that has been reported already."""
        self._states[run.number] = run.state

    def poll(self, study: Study) -> Iterator[StudyEvent]:
        """Runs that started or ended and new events in the logs of active ones, in the order of the runs."""
        for run in study.runs:
            if run.state == "running" and run.parent != self._own:
                yield from self._follow(run)
            elif run.state != self._states.get(run.number):
                yield from self._report_end(run)
            self.mark_known(run)

    def _follow(self, run: StudyRun) -> Iterator[StudyEvent]:
        if self._states.get(run.number) != "running" or run.number not in self._readers:
            folder = self._logs / str(run.run_id)
            self._readers[run.number] = tail_reader(folder)
            resumed = is_run(folder) and load_record(folder).attempt > 1
            yield RunStartedInStudy(run, run.place, resumed, by_peer=True)
        yield from self._log_events(run)

    def _report_end(self, run: StudyRun) -> Iterator[StudyEvent]:
        if run.state == "running":
            return
        yield from self._log_events(run)
        self._readers.pop(run.number, None)
        yield RunEnded(run, by_peer=True)

    def _log_events(self, run: StudyRun) -> Iterator[StudyEvent]:
        if reader := self._readers.get(run.number):
            for event in reader.read():
                if is_forwarded(event):
                    yield RunEventForwarded(run.number, str(run.run_id), event)
