"""Commands to a running run, as files in its `control/` folder."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable
from pathlib import Path

from ..control import CommandName, Inbox
from ..errors import LogsError
from ..events import (
    CheckpointSaved,
    CommandApplied,
    RunCompleted,
    RunEvent,
    RunFailed,
    WarningRaised,
)
from ..utils.files import (
    DISK,
    Disk,
    disk_error_text,
    is_folder,
    read_regular,
    write_atomically,
)
from .layout import is_locked
from .reader import follow, load_record, tail_reader
from .writer import RunWriter

MAX_REASON_BYTES = 1000
"""Bytes of why something is asked for."""


class FolderControl:
    """Commands of this process and, a few times a second, those that others left as files in `control/`.

    As often, the writer of the run tries to write what waits; where checkpoints were lost, one is asked for.
    """

    def __init__(
        self,
        inner: Inbox,
        folder: Path,
        clock: Callable[[], float],
        poll: float = 0.2,
        *,
        writer: RunWriter | None = None,
    ) -> None:
        """`writer`, where there is one, knows where the folder is when it is renamed."""
        self._inner = inner
        self._given = folder
        self._clock = clock
        self._poll = poll
        self._writer = writer
        self._disk = writer.disk if writer else DISK
        self._last_poll = clock() - poll
        self._handled: dict[CommandName, int] = {}

    @property
    def _folder(self) -> Path:
        return (self._writer.folder if self._writer else self._given) / "control"

    def take(self) -> tuple[CommandName, str] | None:
        if command := self._inner.take():
            return command
        now = self._clock()
        if now - self._last_poll < self._poll:
            return None
        self._last_poll = now
        if self._writer:
            self._writer.flush()
            if self._writer.unsaved:
                self._writer.unsaved = False
                return "checkpoint", "the run's folder lost some"
        return next(((command, reason) for command in _COMMANDS if (reason := self._read_request(command))), None)

    def _read_request(self, command: CommandName) -> str:
        """Why a command is asked for by a file not obeyed before, "" without one; a disk may refuse to delete it."""
        path = self._folder / command
        try:
            made = path.lstat().st_mtime_ns if is_folder(self._folder) else None
        except OSError:
            made = None
        if made is None:
            return ""
        new = self._handled.pop(command, None) != made
        reason = _reason(path)
        try:
            self._disk.unlink(path)
        except OSError:
            self._handled[command] = made
        return reason if new else ""

    def wait(self, seconds: float) -> None:
        self._inner.wait(seconds)

    def forward(self, *commands: CommandName) -> None:
        """Leave these, and what no batch took yet, to the process that goes on with the run."""
        waiting: list[tuple[CommandName, str]] = [(command, "") for command in commands]
        while command := self._inner.take():
            waiting.append(command)
        with contextlib.suppress(OSError):
            for name, reason in waiting:
                write_command(self._folder.parent, name, reason, self._disk)


def _reason(request: Path) -> str:
    """Why a command is asked for, as its file tells it."""
    reason = ""
    with contextlib.suppress(OSError):
        reason = read_regular(request, MAX_REASON_BYTES).decode(errors="replace").strip()
    return reason or "asked for by another process"


_COMMANDS: tuple[CommandName, ...] = ("stop", "stop-after-epoch", "checkpoint", "pause", "unpause", "hand-over")


def send_command(folder: Path, command: CommandName, reason: str = "", disk: Disk = DISK) -> None:
    """Ask the process that trains a run to do something, for a reason that its log will tell.

    Raises:
        LogsError: nobody trains it, or its directory cannot be written.
    """
    if is_locked(folder) is False:
        raise LogsError(f"run {folder.name} is not active", f"resume it with: torchdeck resume {folder.name}")
    try:
        write_command(folder, command, reason, disk)
    except OSError as error:
        raise LogsError(
            f"run {folder.name} cannot be asked ({disk_error_text(error)})", "mend its permissions"
        ) from None


def write_command(folder: Path, command: str, reason: str = "", disk: Disk = DISK) -> None:
    """Put a request where whoever works in a folder, now or next, finds it.

    Raises:
        OSError: the directory cannot be written.
    """
    with contextlib.suppress(FileExistsError):
        disk.mkdir(folder / "control")
    if not is_folder(folder / "control"):
        raise OSError(errno.ENOTDIR, "control is not a folder")
    content = reason.encode(errors="replace")[:MAX_REASON_BYTES]
    try:
        write_atomically(folder / "control" / command, content, disk=disk)
    except OSError:
        # On a full disk there may be room for a name, but not for a reason.
        write_atomically(folder / "control" / command, b"", disk=disk)


def send_and_wait(
    folder: Path, command: CommandName, *, wait: Callable[[float], object] = time.sleep
) -> RunEvent | None:
    """Ask, and wait for the event that answers: what was asked for is done, or the run ended; None where it died.

    Raises:
        LogsError: nobody trains the run, or its directory cannot be written.
    """
    while is_locked(folder) is False and load_record(folder).status == "handed_over":
        wait(0.2)
    reader, applied = tail_reader(folder), False
    send_command(folder, command)
    for event in follow(folder, wait=wait, reader=reader):
        applied = applied or (isinstance(event, CommandApplied) and event.command == command)
        if _is_answer(event, command, applied):
            return event
    return None


def _is_answer(event: RunEvent, command: CommandName, applied: bool) -> bool:
    match event:
        case RunCompleted():
            return event.status != "handed_over"
        case RunFailed():
            return True
        case CommandApplied(command="pause" | "unpause"):
            return event.command == command
        case CheckpointSaved() | WarningRaised():
            return command == "checkpoint" and applied
        case _:
            return False
