"""How a run is asked to stop, pause or save: one object, looked at after every batch."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, Protocol

CommandName = Literal["stop", "stop-after-epoch", "pause", "unpause", "checkpoint", "hand-over"]


class Inbox(Protocol):
    """Where commands wait until the training loop takes them."""

    def take(self) -> tuple[CommandName, str] | None:
        """The oldest waiting command with the reason given, or None; never blocks."""
        ...

    def wait(self, seconds: float) -> None:
        """Block until a command may be waiting, `seconds` at most."""
        ...


class Control:
    """Commands from other threads (or a signal handler) of the same process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[CommandName, str]] = deque()
        self._arrived = threading.Event()

    def request(self, command: CommandName, reason: str = "") -> None:
        """Ask for a command; safe from any thread and from a signal handler."""
        self._waiting.append((command, reason))
        self._arrived.set()

    def take(self) -> tuple[CommandName, str] | None:
        if not self._waiting:
            return None
        command = self._waiting.popleft()
        if not self._waiting:
            self._arrived.clear()
        return command

    def wait(self, seconds: float) -> None:
        if not self._waiting:
            self._arrived.clear()
            self._arrived.wait(seconds)
