"""What the parents of a study share: its runs as its files tell of them, changed only by who holds the study's lock.

The lock is held for a moment at a time, and whoever takes it first reads what others changed. A person's wish for one
run, to hold it or to try it again, is a change like any other.
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
from ..utils.files import DISK, disk_error_text, read_json
from ..utils.locks import release_lock, wait_for_lock
from .coordinators import FOLDER, lives
from .journal import DECLARED, Changes, apply_change
from .model import Study, StudyRun
from .reader import check_trainable, run_of, study_of
from .store import settled_run

LOCK = "study.lock"
LOCK_TIMEOUT = 60.0
"""Seconds that others may have the lock."""

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
        """As its files tell of it; each run's own directory knows better."""
        check_trainable(folder, self.study)
        self._changes, self._clock, self._depth = Changes(folder), clock, 0
        try:
            self._lock = DISK.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise unwritable(folder, error) from None
        self.refresh()

    def close(self) -> None:
        """Give the lock's descriptor back."""
        os.close(self._lock)

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the lock, knowing all that others changed; only within may changes be put down.

        Raises:
            BusyError: another process has had it for too long.
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
        if not wait_for_lock(self._lock, LOCK_TIMEOUT, self._clock):
            told = f"another process keeps the lock of study {self.folder.name}"
            raise BusyError(told, f"end the one that hangs; {self.folder / FOLDER} names them")
        self._changes.repair()
        self.refresh()

    def refresh(self) -> list[StudyRun]:
        """Read what others changed since the last call; those runs, as they are now."""
        numbers: dict[int, None] = {}
        for change in self._changes.read():
            if (number := self._apply(change)) is not None:
                numbers[number] = None
        return [self.study.runs[number] for number in numbers]

    def _apply(self, change: Mapping[str, object]) -> int | None:
        """Fold a change in; one that is no run's counts for nothing."""
        number = apply_change(self._content, change)
        run = run_of(number, self._content["runs"][number]) if number is not None else None
        if run is None or not run.config:
            return None
        self.study = self.study.with_run(run)
        return number

    def put(self, run: StudyRun) -> None:
        """Put down what changed of a run, or a new one.

        Raises:
            OSError: the disk refuses it.
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

    def put_importance(self, importance: Mapping[str, float]) -> None:
        """Put down how much each setting of a search mattered.

        Raises:
            OSError: the disk refuses it.
        """
        assert self._depth
        if self.study.search and self.study.search.importance != importance:
            self._changes.write({"search": {"importance": dict(importance)}})
            self.study = replace(self.study, search=replace(self.study.search, importance=dict(importance)))


def unwritable(folder: Path, error: OSError) -> LogsError:
    """What there is to tell where a disk refuses what a study writes."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    told = f"study {folder.name} cannot be written ({disk_error_text(error)})"
    return LogsError(told, "free some space" if full else "mend its permissions")


def hold_run(folder: Path, number: int) -> StudyRun:
    """Have one run of a study stopped, or not begun, until it is retried, while the others go on; the run now.

    Raises:
        InputError: there is no such run, or it is done.
        LogsError, BusyError: the study cannot be read or written.
    """
    with _asked(folder) as ledger:
        run = _run(ledger, number)
        if run.state not in ("waiting", "running", "stopped"):
            raise InputError(f"run {number} is {run.state}", "stop one that waits or trains")
        # One that trains is stopped by its parent, who sees the wish.
        ledger.put(held := settled_run(folder.parent, replace(run, wish="hold"), run.state == "running"))
        return held


def retry_run(folder: Path, number: int) -> StudyRun:
    """Have one run of a study tried again that failed, or was stopped; the run now.

    Raises:
        InputError: there is no such run, or it need not be tried again.
        LogsError, BusyError: the study cannot be read or written.
    """
    with _asked(folder) as ledger:
        run = _run(ledger, number)
        if run.state not in ("failed", "stopped"):
            raise InputError(f"run {number} is {run.state}", "retry one that failed or was stopped")
        ledger.put(again := tried_again(run))
        return again


def tried_again(run: StudyRun) -> StudyRun:
    """A run that is to be tried again."""
    return replace(run, state="waiting", reason="", wish="again", deaths=0)


@contextmanager
def _asked(folder: Path) -> Generator[Ledger]:
    with closing(Ledger(folder)) as ledger:
        try:
            with ledger.held():
                yield ledger
        except OSError as error:
            raise unwritable(folder, error) from None


def _run(ledger: Ledger, number: int) -> StudyRun:
    runs = ledger.study.runs
    if not 0 <= number < len(runs):
        raise InputError(f"study {ledger.folder.name} has no run {number}", f"name one of 0 to {len(runs) - 1}")
    run = runs[number]
    return settled_run(ledger.folder.parent, run, lives(ledger.folder, run.parent))
