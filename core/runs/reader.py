"""Read and follow run folders. The event log is the truth; all other files can be rebuilt from it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from ..events import LogReplaced, RunCompleted, RunEvent, RunFailed
from ..utils.files import (
    DISK,
    Disk,
    is_regular,
    open_regular,
    read_regular,
    to_json_bytes,
    write_atomically,
)
from ..utils.generators import run_to_end
from ..utils.held_folder import HeldFolder
from ..utils.validation import text, whole_number
from .layout import SCHEMA, is_locked
from .line_format import MAX_LINE_BYTES, decode_line, seal, unseal
from .record import RunRecord, record_from_json, summarize

MARK_BYTES = 12
"""Bytes at the end of a line that distinguish it from others: its checksum and the closing brace."""


PROGRESS_INTERVAL = 500
"""Events between two progress reports while a log is read."""

MADE_AGAIN_TIMEOUT = 3.0
"""Seconds in which a run that trains makes its folder again that was removed."""

ACTIVE_SECONDS = 120.0
"""A run whose lock cannot be tested counts as active for so long after its last event."""

TAKEOVER_TIMEOUT = 30.0
"""Seconds in which a process must take over a run that was handed to it."""


class EventReader:
    """Reads the events of a run from a byte offset on; damaged lines are counted and skipped.

    `mark` are the bytes before the offset; where the file has other ones there, it is a different log.
    """

    def __init__(self, folder: Path, offset: int = 0, mark: bytes = b"") -> None:
        self.folder = folder
        """Where the run is, as `find` last saw."""
        self.offset = offset
        self.damaged = 0
        self._mark = mark
        self._skipping = False
        self._held: HeldFolder | None = None

    @property
    def path(self) -> Path:
        """The log."""
        return self.folder / "events.jsonl"

    def find(self) -> bool:
        """Whether the run's folder is there; one that is renamed from now on is found again."""
        if not (self._held and self._held.find()):
            # A run that trains makes a folder that was removed again.
            try:
                self._held = HeldFolder(self.folder)
            except OSError:
                return False
        self.folder = self._held.path
        return True

    def read(self) -> Iterator[RunEvent]:
        """The events in complete lines written since the last call; after a `LogReplaced`, those of a different log."""
        try:
            file = os.fdopen(open_regular(self.path), "rb")
        except OSError:
            if self.offset and not self.path.exists():
                yield self._restart(removed=True)
            return
        with file:
            if mark_at(file, self.offset) != self._mark:
                yield self._restart(removed=False)
            file.seek(self.offset)
            while line := file.readline(MAX_LINE_BYTES):
                whole = line.endswith(b"\n")
                if not whole and len(line) < MAX_LINE_BYTES:
                    return
                self.offset += len(line)
                self._mark = (self._mark + line)[-MARK_BYTES:]
                if self._skipping or not whole:
                    self.damaged += not self._skipping
                    self._skipping = not whole
                    continue
                yield from self._decoded(line[:-1])

    def _restart(self, *, removed: bool) -> RunEvent:
        self.offset, self.damaged, self._mark, self._skipping = 0, 0, b"", False
        return LogReplaced(removed=removed)

    def _decoded(self, line: bytes) -> Iterator[RunEvent]:
        if not line:
            return
        try:
            event = decode_line(line)
        except ValueError:
            self.damaged += 1
            return
        if event is not None:
            yield event


def mark_at(file: BinaryIO, offset: int) -> bytes:
    """The bytes of a log before an offset; they include the checksum of a line, which distinguishes logs."""
    file.seek(max(0, offset - MARK_BYTES))
    return file.read(min(MARK_BYTES, offset))


def tail_reader(folder: Path) -> EventReader:
    """A reader that starts at the end of a run's log; at its beginning where there is no log yet."""
    try:
        size = (folder / "events.jsonl").stat().st_size
        return EventReader(folder, size, _mark(folder, size))
    except OSError:
        return EventReader(folder)


def follow(
    folder: Path,
    *,
    wait: Callable[[float], object] = time.sleep,
    poll: float = 0.2,
    reader: EventReader | None = None,
) -> Iterator[RunEvent]:
    """Yield the events of a run, past ones at once and new ones as they are written, until it ends or its process dies.

    Following continues through `handed_over`, even while no process holds the run; there, and where locks cannot be
    tested, it ends after `TAKEOVER_TIMEOUT` seconds without an event. A run folder that is renamed is followed; one
    that is removed is waited for, because an active run creates it again.
    """
    reader, last, quiet, missing = reader or EventReader(folder), None, 0.0, 0.0
    while True:
        if not reader.find() and missing < MADE_AGAIN_TIMEOUT:
            missing += poll
            wait(poll)
            continue
        missing, alive = 0.0, is_locked(reader.folder)
        for event in reader.read():
            yield event
            last, quiet = event, 0.0
        handed_over = _handed_over(last)
        if isinstance(last, RunFailed | RunCompleted) and not handed_over:
            return
        if not alive and ((alive is False and not handed_over) or quiet >= TAKEOVER_TIMEOUT):
            return
        quiet = 0.0 if alive else quiet + poll
        wait(poll)


def _handed_over(event: RunEvent | None) -> bool:
    return isinstance(event, RunCompleted) and event.status == "handed_over"


def load_record(folder: Path) -> RunRecord:
    """The record of a run now, from its cache and the rest of its log; its status is checked against its lock.

    A run without a last event whose process is gone has the status `died`; a run that was handed over gets that status
    only after `TAKEOVER_TIMEOUT` seconds. Where locks cannot be tested, it is `unknown` after `ACTIVE_SECONDS`.
    """
    return run_to_end(load_in_parts(folder))


def load_in_parts(folder: Path) -> Generator[tuple[int, int], None, RunRecord]:
    """`load_record` as a generator that yields progress, bytes read and bytes in all, and returns the record."""
    record, reader = open_cached(folder)
    total = _size(reader.path)
    yield reader.offset, total
    for number, event in enumerate(reader.read(), start=1):
        record.apply(event)
        if number % PROGRESS_INTERVAL == 0:
            yield reader.offset, total
    if os.path.lexists(reader.path) and not is_regular(reader.path):
        record.warnings.append("events.jsonl is not a regular file and was not read")
    if reader.damaged:
        record.warnings.append(f"{reader.damaged} damaged lines in events.jsonl were skipped")
    settle_status(record, is_locked(folder))
    return record


def open_cached(folder: Path) -> tuple[RunRecord, EventReader]:
    """The record in a run's cache, and a reader of the events after it."""
    record, offset, mark = _cached(folder)
    return record, EventReader(folder, offset, mark)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def settle_status(record: RunRecord, locked: bool | None, now: Callable[[], float] = time.time) -> None:
    """Correct the status of a record without a last event by whether the run is locked.

    Where the lock cannot be tested, as by other accounts, the age of the last event decides, and a warning says so.
    """
    ending, age = record.ending, abs(now() - record.updated)
    if locked or (ending is not None and not _handed_over(ending)):
        return
    if locked is None:
        record.status = record.status if age <= ACTIVE_SECONDS else "unknown"
        record.warnings.append("the lock cannot be tested: the status is by the age of the last event")
    elif ending is None or age > TAKEOVER_TIMEOUT:
        record.status = "died"


def _cached(folder: Path) -> tuple[RunRecord, int, bytes]:
    """The record in the cache, its offset in the log and the mark there; an empty record where it is not usable."""
    try:
        cache = unseal(read_regular(folder / "curves.json"))
        offset, mark = whole_number(cache["offset"]), text(cache["mark"]).encode()
        if cache["schema"] == SCHEMA and _mark(folder, offset) == mark:
            return record_from_json(cache["record"]), offset, mark
    except (TypeError, KeyError, ValueError, OSError, AttributeError, RecursionError):
        pass  # Read the whole log instead.
    return RunRecord(), 0, b""


def _mark(folder: Path, offset: int) -> bytes:
    with open(open_regular(folder / "events.jsonl"), "rb") as file:
        return mark_at(file, offset)


def write_caches(folder: Path, record: RunRecord, *, curves: bool, disk: Disk = DISK) -> None:
    """Replace summary.json, and curves.json if `curves`; disk errors are ignored, the log has it all."""
    with contextlib.suppress(OSError):
        write_atomically(folder / "summary.json", to_json_bytes({"schema": SCHEMA, **summarize(record)}), disk=disk)
        if curves:
            offset = (folder / "events.jsonl").stat().st_size
            cache = {"schema": SCHEMA, "offset": offset, "mark": _mark(folder, offset).decode("ascii", "replace")}
            write_atomically(folder / "curves.json", seal({**cache, "record": record.to_json()}), disk=disk)
