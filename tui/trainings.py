"""Feeds of what the app can train or follow; torch is loaded in their threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from core.config import ExperimentConfig
from core.control import Control
from core.events import RunEvent
from core.label import Label
from core.logs import follow, request
from tui.feed import Feed
from tui.hand_over import HandOver
from tui.workspace import Workspace


def started(config: ExperimentConfig, label: Label, workspace: Workspace) -> Feed:
    """A new run."""
    control = Control()

    def events() -> Iterator[RunEvent]:
        from core.session import Surroundings, run  # torch, seconds

        around = Surroundings(workspace.data)
        yield from run(config, workspace.logs, control, surroundings=around, label=label)

    return Feed(events, control.request, own=True, hand_over=HandOver(workspace.logs, workspace.data))


def resumed(folder: Path, workspace: Workspace) -> Feed:
    """A stopped or dead run that goes on."""
    control = Control()

    def events() -> Iterator[RunEvent]:
        from core.session import Surroundings, resume  # torch, seconds

        yield from resume(folder, control, surroundings=Surroundings(workspace.data))

    return Feed(events, control.request, own=True, hand_over=HandOver(workspace.logs, workspace.data))


class _Left(Exception):
    """Nobody follows the run any more."""


def watched(folder: Path) -> Feed:
    """A run that another process trains."""
    left = threading.Event()

    def wait(seconds: float) -> None:
        if left.wait(seconds):
            raise _Left

    def events() -> Iterator[RunEvent]:
        try:
            yield from follow(folder, wait=wait)
        except _Left:
            return

    return Feed(events, lambda command, reason: request(folder, command, reason), own=False, leave=left.set)
