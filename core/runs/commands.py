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
"""Longer reasons are cut off."""


class FolderControl:
    """The inbox of a running training: commands of this process, and those that others leave as files in `control/`.

    The folder is polled a few times a second; so often the writer also tries to write events that wait in memory, and
    where checkpoints were lost a new one is requested.
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
        """`writer` knows the run folder even where it is renamed."""
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
                return "checkpoint", "checkpoints were removed from the run folder"
        return next(((command, reason) for command in _COMMANDS if (reason := self._read_request(command))), None)

    def _read_request(self, command: CommandName) -> str:
        """The reason in a command file that was not handled before, "" without one; deleting the file may fail."""
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
        """Leave these and all waiting commands to the process that takes the run over."""
        waiting: list[tuple[CommandName, str]] = [(command, "") for command in commands]
        while command := self._inner.take():
            waiting.append(command)
        with contextlib.suppress(OSError):
            for name, reason in waiting:
                write_command(self._folder.parent, name, reason, self._disk)


def _reason(request: Path) -> str:
    """The reason in a command file."""
    reason = ""
    with contextlib.suppress(OSError):
        reason = read_regular(request, MAX_REASON_BYTES).decode(errors="replace").strip()
    return reason or "requested by another process"


_COMMANDS: tuple[CommandName, ...] = ("stop", "stop-after-epoch", "checkpoint", "pause", "unpause", "hand-over")


def send_command(folder: Path, command: CommandName, reason: str = "", disk: Disk = DISK) -> None:
    """Send a command to the process that trains a run; the reason goes to the run's log.

    Raises:
        LogsError: the run is not active, or its folder cannot be written.
    """
    if is_locked(folder) is False:
        raise LogsError(f"run {folder.name} is not active", f"resume it with: torchdeck resume {folder.name}")
    try:
        write_command(folder, command, reason, disk)
    except OSError as error:
        raise LogsError(
            f"cannot send a command to run {folder.name} ({disk_error_text(error)})", "fix its permissions"
        ) from None


def write_command(folder: Path, command: str, reason: str = "", disk: Disk = DISK) -> None:
    """Write a command file into the `control/` folder of a run or study, for the process that works on it now or next.

    Raises:
        OSError: the folder cannot be written.
    """
    with contextlib.suppress(FileExistsError):
        disk.mkdir(folder / "control")
    if not is_folder(folder / "control"):
        raise OSError(errno.ENOTDIR, "control is not a folder")
    content = reason.encode(errors="replace")[:MAX_REASON_BYTES]
    try:
        write_atomically(folder / "control" / command, content, disk=disk)
    except OSError:
        # A full disk may still have room for an empty file.
        write_atomically(folder / "control" / command, b"", disk=disk)


def send_and_wait(
    folder: Path, command: CommandName, *, wait: Callable[[float], object] = time.sleep
) -> RunEvent | None:
    """Send a command and wait for the event that answers it: it took effect, or the run ended; None where it died.

    Raises:
        LogsError: the run is not active, or its folder cannot be written.
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
