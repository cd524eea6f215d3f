"""Run directories as they are read and asked: the events are the truth, the other files can be rebuilt from them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from core.control import CommandName, Inbox
from core.errors import LogsError
from core.events import LogReplaced, RunCompleted, RunEvent, RunFailed, from_json, to_json
from core.files import (
    DISK,
    Disk,
    in_words,
    is_folder,
    is_regular,
    open_regular,
    read_regular,
    to_json_bytes,
    write_atomically,
)
from core.locks import is_held
from core.record import RunRecord, record_from_json, summarize
from core.typed import text, whole

SCHEMA = 1
MIN_READER = 1
LONGEST_LINE = 16 * 2**20
MARK = 12
"""Bytes at the end of a line that tell it from others: its checksum and what closes it."""

AGENT_LOCK = "agent.lock"
"""Held by what starts the ranks of a run on several devices: it has the run also while no rank writes."""

CONSOLE = "console.log"
"""What the process of a run prints, in the run's directory."""

LONGEST_REASON = 1000
"""Bytes of why something is asked for."""

READ_TOGETHER = 500
"""Events between two words of how far a log is read."""

PATIENCE = 30.0
"""Seconds in which the process that a run was handed over to must take it up."""

_CRC_KEY = b',"crc":"'
RUN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def new_run_id(preset: str, now: float) -> str:
    """UTC date-time, preset and four random characters."""
    slug = re.sub(r"[^a-z0-9-]+", "-", preset.lower()).strip("-") or "run"
    when = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    return f"{when}-{slug[:64]}-{''.join(secrets.choice('abcdefghjkmnpqrstuvwxyz23456789') for _ in range(4))}"


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's; a link to one is not, for it may lead anywhere."""
    return is_folder(folder) and os.path.lexists(folder / "run.json")


def encode_line(event: RunEvent) -> bytes:
    """One event as a line: JSON whose last key is the CRC-32 of the bytes before it."""
    return sealed(to_json(event)) + b"\n"


def sealed(content: dict[str, Any]) -> bytes:
    """A JSON object, without its newline, whose last key is the CRC-32 of the bytes before it."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")[:-1]
    return body + _CRC_KEY + b'%08x"}' % zlib.crc32(body)


def unsealed(line: bytes) -> dict[str, Any]:
    """The object of a sealed line; raises ValueError or RecursionError where it is damaged."""
    body, key, tail = line.rpartition(_CRC_KEY)
    if not key or tail != b'%08x"}' % zlib.crc32(body):
        raise ValueError("damaged line")
    return json.loads(body + b"}")


def decode_line(line: bytes) -> RunEvent | None:
    """The event of a line without its newline; None for a kind that this version does not know.

    Raises:
        ValueError: the line is torn, damaged or not of an event's form.
    """
    try:
        return from_json(unsealed(line))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an event: {error}") from None


def is_locked(folder: Path) -> bool | None:
    """Whether a writer has the run; None where that cannot be told."""
    held = is_held(f"{folder}/run.lock")
    return is_held(f"{folder}/{AGENT_LOCK}") if held is False else held


class EventReader:
    """Reads the events of a run from a byte offset on; damaged lines are counted, never raised.

    `mark` are the bytes that end at the offset. Where they are no longer there, the log is another one.
    """

    def __init__(self, folder: Path, offset: int = 0, mark: bytes = b"") -> None:
        self.path = folder / "events.jsonl"
        self.offset = offset
        self.damaged = 0
        self._mark = mark
        self._skipping = False

    def read(self) -> Iterator[RunEvent]:
        """The events of whole lines written since the last call; after a `LogReplaced`, those of another log."""
        try:
            file = os.fdopen(open_regular(self.path), "rb")
        except OSError:
            if self.offset and not self.path.exists():
                yield self._begin_anew(removed=True)
            return
        with file:
            if mark_at(file, self.offset) != self._mark:
                yield self._begin_anew(removed=False)
            file.seek(self.offset)
            while line := file.readline(LONGEST_LINE):
                whole = line.endswith(b"\n")
                if not whole and len(line) < LONGEST_LINE:
                    return
                self.offset += len(line)
                self._mark = (self._mark + line)[-MARK:]
                if self._skipping or not whole:
                    self.damaged += not self._skipping
                    self._skipping = not whole
                    continue
                yield from self._decoded(line[:-1])

    def _begin_anew(self, *, removed: bool) -> RunEvent:
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
    """The bytes of a log that end at an offset: with the checksum of a line among them, they tell it from others."""
    file.seek(max(0, offset - MARK))
    return file.read(min(MARK, offset))


def news_of(folder: Path) -> EventReader:
    """A reader of what a run says from now on; of all of it where it has said nothing yet."""
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
    """The events of a run, past ones at once and live ones as they come, until it ends or its writer is gone.

    It reads on through `handed_over`, also while nobody holds the run yet; there, and where locks cannot be tested, it
    ends when nothing has come for as long as its patience lasts.
    """
    reader, last, quiet = reader or EventReader(folder), None, 0.0
    while True:
        alive = is_locked(folder)
        for event in reader.read():
            yield event
            last, quiet = event, 0.0
        handed_over = _handed_over(last)
        if isinstance(last, RunFailed | RunCompleted) and not handed_over:
            return
        if not alive and ((alive is False and not handed_over) or quiet >= PATIENCE):
            return
        quiet = 0.0 if alive else quiet + poll
        wait(poll)


def _handed_over(event: RunEvent | None) -> bool:
    return isinstance(event, RunCompleted) and event.status == "handed_over"


def load_record(folder: Path) -> RunRecord:
    """The record of a run now, from the cache and the tail of its events; its status tells the truth.

    A run without an ending whose writer is gone has the status `died`, or `unknown` where locks cannot be tested; one
    that was handed over and that nobody took up is given some time before it is called that.
    """
    steps = reading(folder)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def reading(folder: Path) -> Generator[tuple[int, int], None, RunRecord]:
    """`load_record` in parts: it yields the bytes that are read and those there are, first once the cache is read."""
    record, reader = opened(folder)
    total = _size(reader.path)
    yield reader.offset, total
    for number, event in enumerate(reader.read(), start=1):
        record.apply(event)
        if number % READ_TOGETHER == 0:
            yield reader.offset, total
    if os.path.lexists(reader.path) and not is_regular(reader.path):
        record.warnings.append("events.jsonl is not a regular file and was not read")
    if reader.damaged:
        record.warnings.append(f"{reader.damaged} damaged lines in events.jsonl were skipped")
    settle_status(record, is_locked(folder))
    return record


def opened(folder: Path) -> tuple[RunRecord, EventReader]:
    """The record that a run's cache holds, and a reader of what its log says beyond that."""
    record, offset, mark = _cached(folder)
    return record, EventReader(folder, offset, mark)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def settle_status(record: RunRecord, locked: bool | None, now: Callable[[], float] = time.time) -> None:
    """Correct the status of a record whose run is to go on by what the lock says."""
    ending = record.ending
    if locked or (ending is not None and not _handed_over(ending)):
        return
    if ending is None or abs(now() - ending.t) > PATIENCE:
        record.status = "unknown" if locked is None else "died"


def _cached(folder: Path) -> tuple[RunRecord, int, bytes]:
    """The record that the cache holds, the offset it reaches and the mark there; nothing where it is of no use."""
    try:
        cache = unsealed(read_regular(folder / "curves.json"))
        offset, mark = whole(cache["offset"]), text(cache["mark"]).encode()
        if cache["schema"] == SCHEMA and _mark(folder, offset) == mark:
            return record_from_json(cache["record"]), offset, mark
    except (TypeError, KeyError, ValueError, OSError, AttributeError, RecursionError):
        pass  # The events have it all.
    return RunRecord(), 0, b""


def _mark(folder: Path, offset: int) -> bytes:
    with open(open_regular(folder / "events.jsonl"), "rb") as file:
        return mark_at(file, offset)


def write_caches(folder: Path, record: RunRecord, *, curves: bool, disk: Disk = DISK) -> None:
    """Replace summary.json, and curves.json when asked; a disk that will not take them is no loss."""
    with contextlib.suppress(OSError):
        write_atomically(folder / "summary.json", to_json_bytes({"schema": SCHEMA, **summarize(record)}), disk=disk)
        if curves:
            offset = (folder / "events.jsonl").stat().st_size
            cache = {"schema": SCHEMA, "offset": offset, "mark": _mark(folder, offset).decode("ascii", "replace")}
            write_atomically(folder / "curves.json", sealed({**cache, "record": record.to_json()}), disk=disk)


class FolderControl:
    """Commands of this process and, a few times a second, those that others left as files in `control/`.

    `looked` is called as often: what has to be done from time to time while nothing happens.
    """

    def __init__(
        self,
        inner: Inbox,
        folder: Path,
        clock: Callable[[], float],
        poll: float = 0.2,
        *,
        looked: Callable[[], object] = lambda: None,
        disk: Disk = DISK,
    ) -> None:
        self._inner = inner
        self._folder = folder / "control"
        self._clock = clock
        self._poll = poll
        self._call = looked
        self._disk = disk
        self._looked = clock() - poll
        self._obeyed: dict[CommandName, int] = {}

    def take(self) -> tuple[CommandName, str] | None:
        if command := self._inner.take():
            return command
        now = self._clock()
        if now - self._looked < self._poll:
            return None
        self._looked = now
        self._call()
        return next(((command, reason) for command in _COMMANDS if (reason := self._asked(command))), None)

    def _asked(self, command: CommandName) -> str:
        """Why a command is asked for by a file not obeyed before, "" without one; a disk may refuse to delete it."""
        path = self._folder / command
        try:
            made = path.lstat().st_mtime_ns if is_folder(self._folder) else None
        except OSError:
            made = None
        if made is None:
            return ""
        new = self._obeyed.pop(command, None) != made
        reason = _reason(path)
        try:
            self._disk.unlink(path)
        except OSError:
            self._obeyed[command] = made
        return reason if new else ""

    def wait(self, seconds: float) -> None:
        self._inner.wait(seconds)

    def pass_on(self, *commands: CommandName) -> None:
        """Leave these, and what no batch took yet, to the process that goes on with the run."""
        waiting: list[tuple[CommandName, str]] = [(command, "") for command in commands]
        while command := self._inner.take():
            waiting.append(command)
        with contextlib.suppress(OSError):
            for name, reason in waiting:
                leave_request(self._folder.parent, name, reason, self._disk)


def _reason(request: Path) -> str:
    """Why a command is asked for, as its file tells it."""
    told = ""
    with contextlib.suppress(OSError):
        told = read_regular(request, LONGEST_REASON).decode(errors="replace").strip()
    return told or "asked for by another process"


_COMMANDS: tuple[CommandName, ...] = ("stop", "stop-after-epoch", "checkpoint", "pause", "unpause", "hand-over")


def request(folder: Path, command: CommandName, reason: str = "", disk: Disk = DISK) -> None:
    """Ask the process that trains a run to do something, for a reason that its log will tell.

    Raises:
        LogsError: nobody trains it, or its directory cannot be written.
    """
    if is_locked(folder) is False:
        raise LogsError(f"run {folder.name} is not active", f"resume it with: torchdeck resume {folder.name}")
    try:
        leave_request(folder, command, reason, disk)
    except OSError as error:
        raise LogsError(f"run {folder.name} cannot be asked ({in_words(error)})", "mend its permissions") from None


def leave_request(folder: Path, command: str, reason: str = "", disk: Disk = DISK) -> None:
    """Put a request where whoever works in a folder, now or next, finds it.

    Raises:
        OSError: the directory cannot be written.
    """
    with contextlib.suppress(FileExistsError):
        disk.mkdir(folder / "control")
    if not is_folder(folder / "control"):
        raise OSError(errno.ENOTDIR, "control is not a folder")
    content = reason.encode(errors="replace")[:LONGEST_REASON]
    try:
        write_atomically(folder / "control" / command, content, disk=disk)
    except OSError:
        # On a full disk there may be room for a name, but not for a reason.
        write_atomically(folder / "control" / command, b"", disk=disk)
