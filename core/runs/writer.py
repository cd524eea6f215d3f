"""Write a run folder: create and lock it, append events to its log; on disk errors events wait in memory."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from ..errors import BusyError, LogsError
from ..events import (
    CheckpointSaved,
    DeviceSampled,
    EpochCompleted,
    EventsDropped,
    RolledBack,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    StepCompleted,
)
from ..utils.files import (
    DISK,
    Disk,
    disk_error_text,
    is_folder,
    make_folders,
    remove_tree,
    sync_folder,
    to_json_bytes,
    write_atomically,
)
from ..utils.locks import is_held, lock_owner, take_lock
from . import checkpoint
from .layout import MIN_READER, SCHEMA
from .line_format import encode_line
from .request import REQUEST, is_requested
from .run_files import Change, RunFiles

MAX_WAITING = 10_000
SYNCED = (RunStarted, EpochCompleted, CheckpointSaved, RolledBack, RunCompleted, RunFailed)
"""Events after which the log is synced to disk, so that they and all before survive a power cut."""

_DROPPABLE = (StepCompleted, DeviceSampled)
_REPLACED = (
    "run.json", "events.jsonl", "summary.json", "curves.json", "predictions.safetensors", "filters.safetensors",
)  # fmt: skip


class RunWriter:
    """The only writer of a run folder; it holds the lock as long as it lives. Any thread may use it.

    On a disk error events wait in memory, in order, for the next call. Once too many wait, the oldest step and device
    events are replaced by an `EventsDropped` that counts them.
    """

    def __init__(self, folder: Path, lock: int, disk: Disk = DISK, max_waiting: int = MAX_WAITING) -> None:
        """Take over a lock.

        Raises:
            OSError: the log cannot be written; the lock is still held.
        """
        self.disk = disk
        self.refusal: OSError | None = None
        """The error of the last write; None where it succeeded."""
        self.dropped = 0
        self.changes: deque[Change] = deque()
        """What had to be done because the run folder was renamed or removed, still to be reported as events."""
        self.unsaved = False
        """Whether checkpoints were lost with the folder, so that a new one should be saved."""
        self._files, self._max_waiting = RunFiles(folder, lock, disk), max_waiting
        self._waiting: deque[RunEvent] = deque()
        self._first_unsynced: int | None = None
        self._sync_due = self._folder_missing = self._closed = False
        self._torn = not _ends_with_newline(folder / "events.jsonl")
        self._access = threading.RLock()

    @property
    def folder(self) -> Path:
        """The run folder now."""
        return self._files.folder

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.folder / "checkpoints"

    def describe(self, header: dict[str, Any]) -> None:
        """Write run.json.

        Raises:
            OSError: it cannot be written.
        """
        content = to_json_bytes(header)
        write_atomically(self.folder / "run.json", content, durable=True, disk=self.disk)
        self._files.header = content

    def check_folder(self) -> None:
        """Make sure that the run folder has all files; what fails now is tried again at the next call."""
        with self._access:
            if self._closed:
                return
            if self._folder_missing:
                self.flush()
                return
            try:
                self._keep()
            except OSError as error:
                self.refusal = error

    def _keep(self) -> None:
        self._folder_missing = True
        if change := self._files.ensure_in_place():
            self.changes.append(change)
        self._folder_missing = False

    def append(self, event: RunEvent) -> None:
        """Write an event, after those that wait."""
        with self._access:
            self._waiting.append(event)
            if self._first_unsynced is None:
                self._first_unsynced = event.seq
            self._sync_due = self._sync_due or isinstance(event, SYNCED)
            self.flush()
            while len(self._waiting) > self._max_waiting and self._drop_oldest():
                pass

    def flush(self) -> bool:
        """Try to write the waiting events; returns whether everything is on disk."""
        with self._access:
            if not (self._waiting or self._sync_due or self._folder_missing):
                return True
            try:
                if self._sync_due or self._folder_missing:
                    self._keep()
                self._write_all()
                self.refusal = None
            except OSError as error:
                self.refusal = error
            return self.refusal is None

    def _write_all(self) -> None:
        while self._waiting:
            self._write(self._waiting[0])
            self._waiting.popleft()
        if self._sync_due:
            self.disk.sync(self._files.log)
            self._sync_due, self._first_unsynced = False, None

    def _write(self, event: RunEvent) -> None:
        """Write one line; after an error the next line starts with a newline, which ends the incomplete one."""
        content = memoryview((b"\n" if self._torn else b"") + encode_line(event))
        self._torn = True
        while content:
            content = content[self.disk.write(self._files.log, content) or _raise_disk_full() :]
        self._torn = False

    def _drop_oldest(self) -> bool:
        """Replace the oldest droppable event by a count of the dropped ones; returns False where there is none."""
        places = (place for place, event in enumerate(self._waiting) if isinstance(event, _DROPPABLE))
        place = next(places, None)
        if place is None:
            return False
        dropped, self.dropped = self._waiting[place], self.dropped + 1
        before = self._waiting[place - 1] if place else None
        count = 1
        if isinstance(before, EventsDropped):
            count += before.count
            del self._waiting[place - 1]
            place -= 1
        # It takes the `seq` of the last event that it counts: the sequence has a gap of just `count - 1` before it.
        self._waiting[place] = EventsDropped(seq=dropped.seq, t=dropped.t, attempt=dropped.attempt, count=count)
        return True

    @property
    def problem(self) -> str:
        """The disk error as text; "" without one."""
        return disk_error_text(self.refusal) if self.refusal else ""

    @property
    def unwritten(self) -> int:
        """The number of events that wait in memory."""
        return len(self._waiting)

    @property
    def since(self) -> int | None:
        """The `seq` of the first event that is not safely on disk; None where all are."""
        if self._waiting:
            return self._waiting[0].seq
        return self._first_unsynced if self._sync_due else None

    def replace_last(self, event: RunEvent) -> None:
        """Replace the last event, which still waits, by another one, and try to write it."""
        with self._access:
            assert self._waiting
            self._waiting[-1] = event
            self.flush()

    def close(self) -> None:
        """Close the files and release the lock."""
        with self._access:
            self._closed = True
            self._files.close()


def _raise_disk_full() -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def check_writable(logs: Path) -> None:
    """Check that a run can be created in `logs`, without leaving anything behind.

    Raises:
        LogsError: it cannot.
    """
    place = logs
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise LogsError(f"the logs folder {logs} cannot be written", "choose another with --logs or TORCHDECK_LOGS")


def claim(logs: Path, run_id: str, content: dict[str, Any], disk: Disk = DISK) -> RunWriter:
    """Create and lock the folder of a new run, with its run.json; it appears complete or not at all.

    The folder of a requested run exists already, with nothing in it but the request.

    Raises:
        LogsError: the folder cannot be written.
    """
    folder = logs / run_id
    try:
        make_folders(logs, disk)
        requested = is_requested(folder)
        if not requested:
            disk.mkdir(folder)
        writer = _create_files(folder, {"schema": SCHEMA, "min_reader": MIN_READER, "run_id": run_id, **content}, disk)
        if requested:
            _delete([folder / REQUEST], disk)
        return writer
    except OSError as error:
        hint = "free disk space, or choose another folder with --logs or TORCHDECK_LOGS"
        raise LogsError(f"the run folder {folder} cannot be created ({disk_error_text(error)})", hint) from None


def _create_files(folder: Path, header: dict[str, Any], disk: Disk) -> RunWriter:
    """Create the files of a new run folder; the folder is removed again where that fails."""
    try:
        lock = take_lock(folder / "run.lock", disk)
        with _closed_on_error(lock, disk):
            writer = RunWriter(folder, lock, disk)
            writer.describe(header)
            sync_folder(folder.parent, disk)
            return writer
    except BaseException:
        with contextlib.suppress(OSError):
            remove_tree(folder, disk)
        raise


@contextlib.contextmanager
def _closed_on_error(lock: int, disk: Disk) -> Generator[None]:
    try:
        yield
    except BaseException:
        disk.close(lock)
        raise


def check_inactive(folder: Path) -> None:
    """Check that no process trains a run, as far as its lock can be tested.

    Raises:
        BusyError: one does.
    """
    if is_held(folder / "run.lock"):
        raise _busy(folder)


def _busy(folder: Path) -> BusyError:
    return BusyError(f"run {folder.name} is active in {lock_owner(folder / 'run.lock')}", "stop it there first")


def reopen(folder: Path, disk: Disk = DISK, *, keep_commands: bool = False) -> RunWriter:
    """Lock an existing run folder to write on, and delete temporary files of a writer that was killed.

    Commands to the last writer are deleted, unless `keep_commands`.

    Raises:
        BusyError: the run is active in another process.
        LogsError: the folder cannot be written.
    """
    try:
        lock = take_lock(folder / "run.lock", disk)
        with _closed_on_error(lock, disk):
            writer = RunWriter(folder, lock, disk)
    except BlockingIOError:
        raise _busy(folder) from None
    except OSError as error:
        raise LogsError(
            f"run {folder.name} cannot be written ({disk_error_text(error)})", "fix its permissions"
        ) from None
    _clean_up(folder, disk)
    if not keep_commands:
        _delete_commands(folder, disk)
    return writer


def _clean_up(folder: Path, disk: Disk) -> None:
    """Delete the temporary files of a writer that was killed."""
    for name in _REPLACED:
        _delete(folder.glob(f".{name}.*.tmp"), disk)
    checkpoint.clean_up(folder / "checkpoints", disk)


def _delete_commands(folder: Path, disk: Disk) -> None:
    """Delete the command files of a run; where `control` is a link, only the link."""
    control = folder / "control"
    _delete(control.glob("*") if is_folder(control) else [control], disk)


def _delete(paths: Iterable[Path], disk: Disk) -> None:
    """Delete files; those that cannot be deleted do no harm."""
    for path in paths:
        with contextlib.suppress(OSError):
            disk.unlink(path)
