"""Handing a run over: the process that goes on with it asks for it, the one that trains it saves it and lets go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..control import CommandName, Inbox
from ..errors import BusyError, InputError
from ..events import RunCompleted
from ..runs.commands import FolderControl, request
from ..runs.layout import is_locked
from ..runs.reader import load_record
from ..runs.record import RunRecord
from ..runs.writer import RunWriter, reopen
from ..training.pacing import Watch
from ..utils.files import DISK, Disk

RELEASE_TIMEOUT = 120.0
"""Seconds from the batch at whose end the request was seen until the run must be free: the time to save it."""


def taken(folder: Path, control: Inbox, clock: Callable[[], float] = time.monotonic, disk: Disk = DISK) -> RunWriter:
    """Ask the process that trains a run for it, and lock it as soon as that one has let go.

    Raises:
        BusyError: it did not let go, or a stop by control came first.
        LogsError: the run's directory cannot be written.
        InputError: the run ended otherwise meanwhile.
    """
    asked = folder / "control" / "hand-over"
    if is_locked(folder) is not False:
        request(folder, "hand-over", disk=disk)
    end: float | None = None
    while True:
        try:
            writer = reopen(folder, disk, keep_requests=True)
            break
        except BusyError:
            if end is None and not asked.exists():
                end = clock() + RELEASE_TIMEOUT
            if (end is not None and clock() > end) or _stop(control):
                _forget(asked, disk)
                raise
            control.wait(0.02)
    _forget(asked, disk)
    ending = load_record(folder).ending
    if ending is None or (isinstance(ending, RunCompleted) and ending.status == "handed_over"):
        return writer
    writer.close()
    raise InputError(f"run {folder.name} ended before it could be handed over")


def _forget(asked: Path, disk: Disk) -> None:
    """Take a request back; one that cannot be deleted is overlooked by whoever sees it again."""
    with suppress(OSError):
        disk.unlink(asked)


def _stop(control: Inbox) -> bool:
    command = control.take()
    return command is not None and command[0] == "stop"


def is_safe(record: RunRecord, step: int) -> bool:
    """Whether the run can go on from a checkpoint exactly where it stands."""
    return bool(record.checkpoints) and record.checkpoints[-1].step == step


def pass_on(inbox: FolderControl, watch: Watch) -> None:
    """Leave what the run was asked for and has not done yet to the process that goes on with it."""
    still: list[CommandName] = []
    if watch.paused:
        still.append("pause")
    if watch.stop_after_epoch:
        still.append("stop-after-epoch")
    inbox.pass_on(*still)
