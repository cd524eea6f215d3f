"""What the screens share: the folders, the training in hand, the runs that are marked, and what is cached of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.devices.hardware import Machine, this_machine
from ...core.runs.index import RunIndex, RunRow
from ...core.runs.layout import RUN_ID
from ...core.runs.record import READING, RunRecord
from ...core.studies.store import is_study
from .log_loader import LongLogs
from .study_processes import StudyProcesses

if TYPE_CHECKING:
    from .feed import Feed
    from .preferences import State

MOST_MARKED = 8
MOST_RECORDS = 24


@dataclass(slots=True)
class Workspace:
    """One for the app; used in its thread only."""

    logs: Path
    data: Path
    state: State
    now: Callable[[], float]
    index: RunIndex
    feed: Feed | None = None
    marked: list[str] = field(default_factory=list[str])
    chosen: str | None = None
    """The id of the run that Analyze shows."""
    long_logs: LongLogs = field(default_factory=LongLogs)
    processes: StudyProcesses = field(default_factory=StudyProcesses)
    machine: Callable[[], Machine] = this_machine
    """What there is to train on; to be asked beside the screen, for a driver may hang."""
    _records: OrderedDict[str, tuple[int, RunRecord]] = field(default_factory=OrderedDict[str, tuple[int, RunRecord]])

    def rows(self) -> list[RunRow]:
        """All runs, the newest last."""
        return self.index.rows()

    def row(self, run_id: str) -> RunRow | None:
        """One run as lists show it; None where it is gone."""
        return next((row for row in self.rows() if row.id == run_id), None)

    def record(self, run_id: str) -> RunRecord:
        """A run's record: the live one of the training in hand, else what its directory says, kept while that lasts.

        Of a log that is so long that it is still being read, an empty record whose stage says how far that is.
        """
        if self.feed and (started := self.feed.record.started) and started.run_id == run_id:
            return self.feed.record
        size = _size(self.logs / run_id / "events.jsonl")
        known = self._records.pop(run_id, None)
        if known is None or known[0] != size:
            known = (size, self.long_logs.record(self.logs / run_id))
            if known[1].status == READING:
                return known[1]
        self._records[run_id] = known
        while len(self._records) > MOST_RECORDS:
            self._records.popitem(last=False)
        return known[1]

    def study_of(self, run_id: str) -> Path | None:
        """The folder of the study that a run belongs to; None where it has none, or it is gone."""
        row = self.row(run_id)
        folder = self.logs / row.study if row and RUN_ID.fullmatch(row.study) else None
        return folder if folder and is_study(folder) else None

    def toggle_mark(self, run_id: str) -> bool:
        """Mark a run for comparison, or unmark it; False when eight are marked already."""
        if run_id in self.marked:
            self.marked.remove(run_id)
            return True
        if len(self.marked) >= MOST_MARKED:
            return False
        self.marked.append(run_id)
        return True

    @property
    def training(self) -> bool:
        """Whether this process trains now."""
        return self.feed is not None and self.feed.own and not self.feed.over


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
