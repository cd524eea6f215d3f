"""A study and its result as they stand on disk now, read again only where something changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import LogsError
from core.locks import is_held
from core.results.declared import Declared, DeclaredRun, read_study
from core.results.rows import ResultRow, read_result_row
from core.results.study import StudyResult, concluded
from core.study import Study, StudyStatus, load_study, status_of, study_folders
from core.study_files import CHANGES, DECLARED


@dataclass(frozen=True, slots=True)
class StudySeen:
    """A study with the state of each run, whether a process works on it, and what its runs amount to."""

    folder: Path
    study: Study
    status: StudyStatus
    result: StudyResult


class StudyReader:
    """Reads one study again and again; a run's log is read when an epoch of it, or the run, ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[int, tuple[object, ResultRow]] = {}
        self._seen: StudySeen | None = None

    def read(self) -> StudySeen:
        """The study as it is now; the same object as before where nothing changed.

        Raises:
            LogsError: study.json is missing, damaged or of a newer version.
        """
        study, declared = load_study(self.folder), read_study(self.folder)
        result, status = self._result(declared), status_of(self.folder, study)
        before = self._seen
        if before is None or (study, status) != (before.study, before.status) or result is not before.result:
            self._seen = before = StudySeen(self.folder, study, status, result)
        return before

    def _result(self, declared: Declared) -> StudyResult:
        rows = tuple(self._row(place, run, declared.logs) for place, run in enumerate(declared.runs))
        before = self._seen.result if self._seen else None
        if before and before.study == declared and _same(before.rows, rows):
            return before
        return concluded(declared, rows)

    def _row(self, place: int, run: DeclaredRun, logs: Path) -> ResultRow:
        stamp, kept = _stamp(run, logs), self._rows.get(place)
        if kept is None or kept[0] != stamp:
            self._rows[place] = kept = (stamp, read_result_row(run, logs))
        return kept[1]


def _same(before: Sequence[ResultRow], now: Sequence[ResultRow]) -> bool:
    return len(before) == len(now) and all(old is new for old, new in zip(before, now, strict=True))


def _stamp(run: DeclaredRun, logs: Path) -> object:
    """What a run's row depends on: while it trains the summary, which each epoch replaces, else the log as well."""
    if run.run_id is None:
        return run
    folder = logs / run.run_id
    writing = is_held(folder / "run.lock")
    files = ("run.json", "summary.json", *(() if writing else ("events.jsonl", "predictions.safetensors")))
    return (run, writing, *(_changed(folder / file) for file in files))


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """A study as a list shows it: one in the logs, or (without a folder) one that is ready to be started."""

    name: str
    study: Study | None
    folder: Path | None = None
    status: str = ""
    problem: str = ""


class StudyLister:
    """Lists the studies of a logs folder; one that is finished is read again only when its files change."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._kept: dict[Path, tuple[object, StudyEntry]] = {}

    def read(self) -> list[StudyEntry]:
        """All studies, the newest first."""
        return [self._entry(folder) for folder in reversed(study_folders(self.logs))]

    def _entry(self, folder: Path) -> StudyEntry:
        stamp, kept = (_changed(folder / DECLARED), _changed(folder / CHANGES)), self._kept.get(folder)
        if kept is None or kept[0] != stamp or kept[1].status not in ("completed", "failed"):
            self._kept[folder] = kept = (stamp, _entry(folder))
        return kept[1]


def _entry(folder: Path) -> StudyEntry:
    try:
        study = load_study(folder)
    except LogsError as error:
        return StudyEntry(folder.name, None, folder, "unreadable", error.message)
    return StudyEntry(study.name, study, folder, status_of(folder, study))
