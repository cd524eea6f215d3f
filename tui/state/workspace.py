"""What all pages share: the folders, the active run's feed, marked runs, preferences, and cached records."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.devices.hardware import Machine, this_machine
from ...core.runs.index import RunIndex, RunRow
from ...core.runs.layout import CONSOLE, RUN_ID
from ...core.runs.record import READING, RunRecord
from ...core.studies.store import is_study
from ..format.values import safe
from ..terminal.captured_output import CapturedOutput, append_output
from .log_loader import LogLoader
from .study_processes import StudyProcesses

if TYPE_CHECKING:
    from .feed import Feed
    from .preferences import Preferences

MAX_MARKED = 8
MAX_RECORDS = 24


@dataclass(slots=True)
class Workspace:
    """One per app; only to be used in the app's thread."""

    logs: Path
    data: Path
    preferences: Preferences
    now: Callable[[], float]
    index: RunIndex
    feed: Feed | None = None
    marked: list[str] = field(default_factory=list[str])
    chosen: str | None = None
    """The id of the run that Analyze shows."""
    log_loader: LogLoader = field(default_factory=LogLoader)
    processes: StudyProcesses = field(default_factory=StudyProcesses)
    machine: Callable[[], Machine] = this_machine
    """Detects the hardware; to be called in a worker thread, since a driver may hang."""
    _records: OrderedDict[str, tuple[int, RunRecord]] = field(default_factory=OrderedDict[str, tuple[int, RunRecord]])

    def rows(self) -> list[RunRow]:
        """All runs, the newest last."""
        return self.index.rows()

    def row(self, run_id: str) -> RunRow | None:
        """One run's row; None if it does not exist."""
        return next((row for row in self.rows() if row.id == run_id), None)

    def record(self, run_id: str) -> RunRecord:
        """A run's record: the live one of the active run, else the one on disk, cached until its log grows.

        While a long log is being read, an empty record whose stage is the progress of that.
        """
        if self.feed and (started := self.feed.record.started) and started.run_id == run_id:
            return self.feed.record
        size = _size(self.logs / run_id / "events.jsonl")
        known = self._records.pop(run_id, None)
        if known is None or known[0] != size:
            known = (size, self.log_loader.record(self.logs / run_id))
            if known[1].status == READING:
                return known[1]
        self._records[run_id] = known
        while len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)
        return known[1]

    def study_of(self, run_id: str) -> Path | None:
        """The folder of the study that a run belongs to; None if there is none, or it was deleted."""
        row = self.row(run_id)
        folder = self.logs / row.study if row and RUN_ID.fullmatch(row.study) else None
        return folder if folder and is_study(folder) else None

    def toggle_mark(self, run_id: str) -> bool:
        """Mark a run for comparison, or unmark it; False if `MAX_MARKED` runs are marked already."""
        if run_id in self.marked:
            self.marked.remove(run_id)
            return True
        if len(self.marked) >= MAX_MARKED:
            return False
        self.marked.append(run_id)
        return True

    def keep_printed(self, printed: CapturedOutput) -> None:
        """Move what libraries printed to the log lines of the active run, and into its folder."""
        if self.feed is None or not (text := printed.read()).strip():
            return
        for line in text.splitlines():
            self.feed.add_line(self.now(), safe(line))
        if self.feed.own and (started := self.feed.record.started):
            append_output(text, self.logs / started.run_id / CONSOLE)

    @property
    def training(self) -> bool:
        """Whether a run is being trained by this process."""
        return self.feed is not None and self.feed.own and not self.feed.over


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
