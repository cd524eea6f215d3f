"""Commands to a running training (stop, pause, save, ...): a queue that the training loop polls after every batch."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal, Protocol

CommandName = Literal["stop", "stop-after-epoch", "pause", "unpause", "checkpoint", "hand-over"]


class Inbox(Protocol):
    """A queue of commands, as the training loop sees it."""

    def take(self) -> tuple[CommandName, str] | None:
        """The oldest waiting command and its reason, or None; never blocks."""
        ...

    def wait(self, seconds: float) -> None:
        """Block until a command may have arrived, for at most `seconds`."""
        ...


class Control:
    """An inbox for commands from other threads, or a signal handler, of the same process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[CommandName, str]] = deque()
        self._arrived = threading.Event()

    def request(self, command: CommandName, reason: str = "") -> None:
        """Queue a command; safe to call from any thread and from a signal handler."""
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
