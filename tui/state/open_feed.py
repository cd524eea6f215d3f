"""Open the feed of a run: start it, resume it, or follow one that another process trains."""

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
from .handover import POLL_SECONDS, Handover
from .workspace import Workspace

CANCELLED = Failure("input", "Cancelled", "cancelled before it started")


def start_feed(config: ExperimentConfig, label: Label, workspace: Workspace) -> Feed:
    """Start a run in this process."""
    control = Control()

    def events() -> Iterator[RunEvent]:
        from ...core.api import SessionContext, run  # torch, seconds

        around = SessionContext(workspace.data)
        yield from run(config, workspace.logs, control, context=around, label=label)

    return Feed(events, control.request, own=True, handover=Handover(workspace.logs, workspace.data))


def resume_feed(folder: Path, workspace: Workspace) -> Feed:
    """Resume a stopped or dead run in this process."""
    control = Control()

    def events() -> Iterator[RunEvent]:
        from ...core.api import SessionContext, resume  # torch, seconds

        yield from resume(folder, control, context=SessionContext(workspace.data))

    stop_following = partial(control.request, "hand-over") if requested_ranks(folder) > 1 else None
    return Feed(
        events,
        control.request,
        own=True,
        handover=Handover(workspace.logs, workspace.data, stop_following=stop_following),
    )


class _Unfollowed(Exception):
    """The run is not followed any more."""


class _Following:
    """Following a run, until `stop` is called from any thread."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self.stop = self._stopped.set

    def wait(self, seconds: float) -> None:
        """Wait between two reads; raises _Unfollowed once `stop` was called."""
        if self._stopped.wait(seconds):
            raise _Unfollowed


def follow_feed(folder: Path) -> Feed:
    """Follow a run that another process trains."""
    following, reader = _Following(), EventReader(folder)

    def events() -> Iterator[RunEvent]:
        with suppress(_Unfollowed):
            yield from follow(folder, wait=following.wait, reader=reader)

    return Feed(
        events, lambda command, reason: send_command(reader.folder, command, reason), own=False, unfollow=following.stop
    )


def start_detached_feed(config: ExperimentConfig, label: Label, workspace: Workspace) -> Feed:
    """Start a run in a background process that outlives this one, and follow it from its first event.

    Raises:
        LogsError: the logs folder is not writable, or no process can be started.
    """
    run = start_detached(config, label, workspace.logs, workspace.data, workspace.now())
    following, has_started, cancelled = _Following(), threading.Event(), threading.Event()
    reader = EventReader(run.folder)

    def send(command: CommandName, reason: str) -> None:
        if command == "stop" and not has_started.is_set():
            # The run directory, through which it receives commands, does not exist yet.
            cancelled.set()
            run.process.terminate()
        else:
            send_command(reader.folder, command, reason)

    def events() -> Iterator[RunEvent]:
        yield StageStarted(t=workspace.now(), message="starting a background process")
        with suppress(_Unfollowed):
            while (result := run.start_result()) is None:
                following.wait(POLL_SECONDS)
            has_started.set()
            if isinstance(result, RunStarted):
                yield from follow(run.folder, wait=following.wait, reader=reader)
            else:
                yield replace(result, error=CANCELLED) if cancelled.is_set() else result

    return Feed(events, send, own=False, unfollow=following.stop)
