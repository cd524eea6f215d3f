"""Read a study and its results from disk repeatedly; only what changed is read again."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from operator import is_not
from pathlib import Path

from ...core.errors import LogsError
from ...core.results.run_result import ResultRow, read_result_row
from ...core.results.study_result import StudyResult, conclude
from ...core.studies.coordinators import active_coordinators
from ...core.studies.journal import CHANGES, DECLARED, read_content
from ...core.studies.model import Study, StudyRun, StudyStatus
from ...core.studies.reader import study_of
from ...core.studies.store import current_run, status_of, study_folders
from ...core.utils.locks import is_held
from ...presets import full_run


@dataclass(frozen=True, slots=True)
class StudySnapshot:
    """A study with the state of each run, its own status, and its results."""

    folder: Path
    study: Study
    status: StudyStatus
    result: StudyResult


Stamp = tuple[bool, object]
"""Whether a run's coordinator is alive, and the size and time of change of its files."""


@dataclass(frozen=True, slots=True)
class _State:
    """A run with its current state, and what that was read from."""

    recorded: StudyRun
    stamp: Stamp
    run: StudyRun


class StudyStateReader:
    """Reads the states of one study's runs; a run's folder is read again only if its files changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stamps: list[Stamp] = []
        """What the state and the results of each run depend on."""
        self._files: object = None
        self._recorded: Study | None = None
        self._states: list[_State] = []
        self._study: Study | None = None

    def read(self) -> Study:
        """The study as it is now; the same object as before if nothing changed.

        Raises:
            LogsError: study.json is missing, damaged or of a newer version.
        """
        recorded, states = self._read_files(), self._states
        alive, logs = active_coordinators(self.folder), self.folder.parent
        self.stamps = [(run.parent in alive, _stamp(run, logs)) for run in recorded.runs]
        self._states = [self._state(place, run) for place, run in enumerate(recorded.runs)]
        if self._study is None or len(states) != len(self._states) or any(map(is_not, states, self._states)):
            self._study = replace(recorded, runs=tuple(state.run for state in self._states))
        return self._study

    def _read_files(self) -> Study:
        files = (_changed(self.folder / DECLARED), _changed(self.folder / CHANGES))
        if self._recorded is None or files != self._files:
            self._recorded, self._files, self._study = study_of(self.folder, read_content(self.folder)), files, None
        return self._recorded

    def _state(self, place: int, run: StudyRun) -> _State:
        kept = self._states[place] if place < len(self._states) else None
        stamp = self.stamps[place]
        if kept and kept.stamp == stamp and kept.recorded == run:
            return kept
        return _State(run, stamp, current_run(self.folder.parent, run, stamp[0]))


class StudyReader:
    """Reads one study; a run's log is read again after each of its epochs, and when it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._states = StudyStateReader(folder)
        self._rows: dict[int, tuple[object, StudyRun, ResultRow]] = {}
        self._snapshot: StudySnapshot | None = None

    def read(self) -> StudySnapshot:
        """The study as it is now; the same object as before if nothing changed.

        Raises:
            LogsError: study.json is missing, damaged or of a newer version.
        """
        study = self._states.read()
        result, status = self._result(study), status_of(self.folder, study)
        before = self._snapshot
        if before is None or study is not before.study or status != before.status or result is not before.result:
            self._snapshot = before = StudySnapshot(self.folder, study, status, result)
        return before

    def _result(self, study: Study) -> StudyResult:
        rows = tuple(map(self._row, study.runs, self._states.stamps))
        before = self._snapshot.result if self._snapshot else None
        if before and before.study == study and not any(map(is_not, rows, before.rows)):
            return before
        return conclude(study, rows, full_run)

    def _row(self, run: StudyRun, stamp: object) -> ResultRow:
        kept = self._rows.get(run.number)
        if kept is None or kept[0] != stamp or kept[1] != run:
            self._rows[run.number] = kept = (stamp, run, read_result_row(run, self.folder.parent))
        return kept[2]


def _stamp(run: StudyRun, logs: Path) -> object:
    """What a run's results depend on: while it trains its summary, which each epoch replaces, then also its log."""
    if run.run_id is None:
        return None
    folder = logs / run.run_id
    writing = is_held(folder / "run.lock")
    files = ("run.json", "summary.json", *(() if writing else ("events.jsonl", "predictions.safetensors")))
    return (writing, *(_changed(folder / file) for file in files))


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """A study in a list: one in the logs, or (without a folder) one that is ready to start."""

    name: str
    study: Study | None
    folder: Path | None = None
    status: str = ""
    problem: str = ""


class StudyLister:
    """Lists the studies of a logs folder; a finished one is read again only if its files changed."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._readers: dict[Path, StudyStateReader] = {}
        self._kept: dict[Path, tuple[object, StudyEntry]] = {}

    def read(self) -> list[StudyEntry]:
        """All studies, newest first."""
        return [self._entry(folder) for folder in reversed(study_folders(self.logs))]

    def _entry(self, folder: Path) -> StudyEntry:
        stamp, kept = (_changed(folder / DECLARED), _changed(folder / CHANGES)), self._kept.get(folder)
        if kept is None or kept[0] != stamp or kept[1].status not in ("completed", "failed"):
            self._kept[folder] = kept = (stamp, self._read(folder))
        return kept[1]

    def _read(self, folder: Path) -> StudyEntry:
        try:
            study = self._readers.setdefault(folder, StudyStateReader(folder)).read()
        except LogsError as error:
            return StudyEntry(folder.name, None, folder, "unreadable", error.message)
        return StudyEntry(study.name, study, folder, status_of(folder, study))
