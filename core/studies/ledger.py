"""The ledger of a study: the shared state of its runs, changed only while holding the study's lock.

The lock is held for a moment at a time, and taking it first reads what others changed. When the user stops or retries
one run, that is a change like any other.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path

from ..errors import BusyError, InputError, LogsError
from ..utils.files import disk_error_text, read_json
from ..utils.locks import open_lock, release_lock, wait_for_lock
from .coordinators import FOLDER, is_alive
from .journal import DECLARED, Changes, apply_change
from .model import Study, StudyRun
from .reader import check_trainable, run_of, study_of
from .store import current_run

LOCK = "study.lock"
_FIELDS = tuple(field.name for field in fields(StudyRun))


class Ledger:
    """The runs of one study, read and changed by one process."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the study of a folder.

        Raises:
            LogsError: study.json is missing, damaged or of a newer version, or the folder cannot be written.
        """
        self.folder = folder
        self._content = read_json(folder / DECLARED)
        self.study: Study = study_of(folder, self._content)
        """The study as recorded in its files; the run folders may know better."""
        check_trainable(folder, self.study)
        self._changes, self._clock, self._depth = Changes(folder), clock, 0
        try:
            self._lock = open_lock(folder / LOCK)
        except OSError as error:
            raise write_error(folder, error) from None
        self.refresh()

    def close(self) -> None:
        """Close the lock file."""
        os.close(self._lock)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the lock, with the changes of others read; changes may only be recorded inside. Reentrant.

        Raises:
            BusyError: another process holds the lock for too long.
        """
        if self._depth == 0:
            self._take()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                release_lock(self._lock)

    def _take(self) -> None:
        if not wait_for_lock(self._lock, self._clock):
            message = f"another process does not release the lock of study {self.folder.name}"
            raise BusyError(message, f"end the process that hangs; {self.folder / FOLDER} lists them")
        self._changes.repair()
        self.refresh()

    def refresh(self) -> list[StudyRun]:
        """Read what others changed since the last call; returns the changed runs."""
        numbers: dict[int, None] = {}
        for change in self._changes.read():
            if (number := self._apply(change)) is not None:
                numbers[number] = None
        return [self.study.runs[number] for number in numbers]

    def _apply(self, change: Mapping[str, object]) -> int | None:
        """Apply a change; one with an invalid run is ignored."""
        number = apply_change(self._content, change)
        run = run_of(number, self._content["runs"][number]) if number is not None else None
        if run is None or not run.config:
            return None
        self.study = self.study.with_run(run)
        return number

    def record(self, run: StudyRun) -> None:
        """Record what changed of a run, or a new run.

        Raises:
            OSError: it cannot be written.
        """
        assert self._depth
        known = self.study.runs[run.number] if run.number < len(self.study.runs) else None
        changes = {name: getattr(run, name) for name in _FIELDS}
        if known:
            changes = {name: value for name, value in changes.items() if getattr(known, name) != value}
        if changes:
            change = {"run": {**changes, "number": run.number}}
            self._changes.write(change)
            apply_change(self._content, change)
            self.study = self.study.with_run(run)

    def record_importance(self, importance: Mapping[str, float]) -> None:
        """Record the importance of each setting of a search.

        Raises:
            OSError: it cannot be written.
        """
        assert self._depth
        if self.study.search and self.study.search.importance != importance:
            self._changes.write({"search": {"importance": dict(importance)}})
            self.study = replace(self.study, search=replace(self.study.search, importance=dict(importance)))


def write_error(folder: Path, error: OSError) -> LogsError:
    """The error for a study whose files cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    message = f"study {folder.name} cannot be written ({disk_error_text(error)})"
    return LogsError(message, "free some space" if full else "fix its permissions")


def hold_run(folder: Path, number: int) -> StudyRun:
    """Put one run of a study on hold: it is stopped, or not started, until it is retried; returns the run.

    Raises:
        InputError: there is no such run, or it is done.
        LogsError, BusyError: the study cannot be read or written.
    """
    with _opened_and_locked(folder) as ledger:
        run = _run(ledger, number)
        if run.state not in ("waiting", "running", "stopped"):
            raise InputError(f"run {number} is {run.state}", "choose a run that is waiting or active")
        # An active run is stopped by its coordinator, which reads this change.
        ledger.record(on_hold := current_run(folder.parent, replace(run, wish="hold"), run.state == "running"))
        return on_hold


def retry_run(folder: Path, number: int) -> StudyRun:
    """Retry one run of a study that failed or was stopped; returns the run.

    Raises:
        InputError: there is no such run, or it did not fail and was not stopped.
        LogsError, BusyError: the study cannot be read or written.
    """
    with _opened_and_locked(folder) as ledger:
        run = _run(ledger, number)
        if run.state not in ("failed", "stopped"):
            raise InputError(f"run {number} is {run.state}", "choose a run that failed or was stopped")
        ledger.record(reset := reset_for_retry(run))
        return reset


def reset_for_retry(run: StudyRun) -> StudyRun:
    """The run, waiting to be retried."""
    return replace(run, state="waiting", reason="", wish="again", deaths=0)


@contextmanager
def _opened_and_locked(folder: Path) -> Generator[Ledger]:
    with closing(Ledger(folder)) as ledger:
        try:
            with ledger.locked():
                yield ledger
        except OSError as error:
            raise write_error(folder, error) from None


def _run(ledger: Ledger, number: int) -> StudyRun:
    runs = ledger.study.runs
    if not 0 <= number < len(runs):
        raise InputError(f"study {ledger.folder.name} has no run {number}", f"choose one of 0 to {len(runs) - 1}")
    run = runs[number]
    return current_run(ledger.folder.parent, run, is_alive(ledger.folder, run.parent))
