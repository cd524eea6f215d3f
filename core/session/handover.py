"""Hand a run over to another process: that one asks for it, the one that trains it saves a checkpoint and lets go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..control import CommandName, Inbox
from ..errors import BusyError, InputError
from ..events import RunCompleted
from ..runs.commands import FolderControl, send_command
from ..runs.layout import is_locked
from ..runs.reader import load_record
from ..runs.record import RunRecord
from ..runs.writer import RunWriter, reopen
from ..training.pacing import Pacer
from ..utils.files import DISK, Disk

RELEASE_TIMEOUT = 120.0
"""Seconds that the training process has to save the run and release it once it has seen the request."""


def take_over_run(
    folder: Path, control: Inbox, clock: Callable[[], float] = time.monotonic, disk: Disk = DISK
) -> RunWriter:
    """Ask the process that trains a run to release it, and lock the run as soon as it is free.

    Raises:
        BusyError: the run was not released in time, or a stop by control came first.
        LogsError: the run folder cannot be written.
        InputError: the run ended before it could be handed over.
    """
    request_file = folder / "control" / "hand-over"
    if is_locked(folder) is not False:
        send_command(folder, "hand-over", disk=disk)
    end: float | None = None
    while True:
        try:
            writer = reopen(folder, disk, keep_commands=True)
            break
        except BusyError:
            if end is None and not request_file.exists():
                end = clock() + RELEASE_TIMEOUT
            if (end is not None and clock() > end) or _stop_requested(control):
                _withdraw(request_file, disk)
                raise
            control.wait(0.02)
    _withdraw(request_file, disk)
    ending = load_record(folder).ending
    if ending is None or (isinstance(ending, RunCompleted) and ending.status == "handed_over"):
        return writer
    writer.close()
    raise InputError(f"run {folder.name} ended before it could be handed over")


def _withdraw(request_file: Path, disk: Disk) -> None:
    """Delete the request; one that cannot be deleted is ignored by the process that sees it again."""
    with suppress(OSError):
        disk.unlink(request_file)


def _stop_requested(control: Inbox) -> bool:
    command = control.take()
    return command is not None and command[0] == "stop"


def is_checkpointed(record: RunRecord, step: int) -> bool:
    """Whether the newest checkpoint is of exactly this step."""
    return bool(record.checkpoints) and record.checkpoints[-1].step == step


def forward_commands(inbox: FolderControl, pacer: Pacer) -> None:
    """Pass the commands that are still pending on to the process that takes the run over."""
    pending: list[CommandName] = []
    if pacer.paused:
        pending.append("pause")
    if pacer.stop_after_epoch:
        pending.append("stop-after-epoch")
    inbox.forward(*pending)
