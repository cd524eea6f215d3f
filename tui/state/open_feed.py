"""Feeds of what the app can train or follow; torch is loaded in their threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...core.config import ExperimentConfig
from ...core.control import CommandName, Control
from ...core.events import Failure, RunEvent, RunStarted, StageStarted
from ...core.processes.launch import start_detached
from ...core.runs.commands import send_command
from ...core.runs.index import requested_ranks
from ...core.runs.label import Label
from ...core.runs.reader import EventReader, follow
from .feed import Feed
from .handover import POLL_SECONDS, HandOver
from .workspace import Workspace

CALLED_OFF = Failure("input", "CalledOff", "called off before it began")


def started(config: ExperimentConfig, label: Label, workspace: Workspace) -> Feed:
    """A new run."""
    control = Control()

    def events() -> Iterator[RunEvent]:
        from ...core.api import SessionContext, run  # torch, seconds

        around = SessionContext(workspace.data)
        yield from run(config, workspace.logs, control, context=around, label=label)

    return Feed(events, control.request, own=True, hand_over=HandOver(workspace.logs, workspace.data))


def resumed(folder: Path, workspace: Workspace) -> Feed:
    """A stopped or dead run that goes on."""
    control = Control()

    def events() -> Iterator[RunEvent]:
        from ...core.api import SessionContext, resume  # torch, seconds

        yield from resume(folder, control, context=SessionContext(workspace.data))

    let_go = partial(control.request, "hand-over") if requested_ranks(folder) > 1 else None
    return Feed(events, control.request, own=True, hand_over=HandOver(workspace.logs, workspace.data, let_go=let_go))


class _Left(Exception):
    """Nobody follows the run any more."""


class _Leave:
    """Ends the following of a run."""

    def __init__(self) -> None:
        self._left = threading.Event()
        self.now = self._left.set

    def wait(self, seconds: float) -> None:
        """Wait; raises _Left once nobody follows."""
        if self._left.wait(seconds):
            raise _Left


def watched(folder: Path) -> Feed:
    """A run that another process trains."""
    leave, reader = _Leave(), EventReader(folder)

    def events() -> Iterator[RunEvent]:
        with suppress(_Left):
            yield from follow(folder, wait=leave.wait, reader=reader)

    return Feed(
        events, lambda command, reason: send_command(reader.folder, command, reason), own=False, leave=leave.now
    )


def detached(config: ExperimentConfig, label: Label, workspace: Workspace) -> Feed:
    """A new run in a process of its own, that outlives this one, and is followed from its first event on.

    Raises:
        LogsError: the logs folder cannot be written, or no process can be started.
    """
    run = start_detached(config, label, workspace.logs, workspace.data, workspace.now())
    leave, begun, called_off = _Leave(), threading.Event(), threading.Event()
    reader = EventReader(run.folder)

    def ask(command: CommandName, reason: str) -> None:
        if command == "stop" and not begun.is_set():
            # Its directory, where it could be asked, is not there yet.
            called_off.set()
            run.process.terminate()
        else:
            send_command(reader.folder, command, reason)

    def events() -> Iterator[RunEvent]:
        yield StageStarted(t=workspace.now(), message="starting a process of its own")
        with suppress(_Left):
            while (began := run.start_result()) is None:
                leave.wait(POLL_SECONDS)
            begun.set()
            if isinstance(began, RunStarted):
                yield from follow(run.folder, wait=leave.wait, reader=reader)
            else:
                yield replace(began, error=CALLED_OFF) if called_off.is_set() else began

    return Feed(events, ask, own=False, leave=leave.now)
