"""Asking a run of any process for something, by its directory, until it has done it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from core.control import CommandName
from core.events import CheckpointSaved, CommandApplied, RunCompleted, RunEvent, RunFailed, WarningRaised
from core.logs import follow, is_locked, load_record, news_of, request


def obeyed(folder: Path, command: CommandName, *, wait: Callable[[float], object] = time.sleep) -> RunEvent | None:
    """Ask, and wait for the event that answers: what was asked for is done, or the run ended; None where it died.

    Raises:
        LogsError: nobody trains the run, or its directory cannot be written.
    """
    while is_locked(folder) is False and load_record(folder).status == "handed_over":
        wait(0.2)
    news, applied = news_of(folder), False
    request(folder, command)
    for event in follow(folder, wait=wait, reader=news):
        applied = applied or (isinstance(event, CommandApplied) and event.command == command)
        if _answers(event, command, applied):
            return event
    return None


def _answers(event: RunEvent, command: CommandName, applied: bool) -> bool:
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
