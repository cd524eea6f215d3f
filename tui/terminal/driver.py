"""Textual's terminal driver, for terminals that stall, go away, or are taken by a shell for a while.

Frames that the terminal does not take are dropped whole, and the screen is drawn anew once it takes them again; so the
app never waits for its terminal, and neither does what trains beside it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from .messages import TerminalDrained, TerminalLost
from .terminal import LEAVE_SCREEN, Outlet, in_front, say_at_once

FRAME_START = "\x1b[?2026h"
FRAME_END = "\x1b[?2026l"
MODES = ("\x1b[?", "\x1b[<", "\x1b[>")
LONGEST_MODE = 16
GRACE_SECONDS = 1.0
LOOK_EVERY = 0.5


class TerminalDriver(LinuxDriver):
    """Never blocks the app; Textual's own writer thread stays idle."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert self._file is not None
        self._screen = self._file.fileno()
        self._outlet: Outlet | None = None
        self._frame: list[str] | None = None
        self._asyncio = asyncio.get_running_loop()
        self._process = os.getpid()
        # In place of Textual's, which start two more threads at each SIGCONT, and act wherever the signal falls.
        signal.signal(signal.SIGTSTP, self._in_the_loop(self._suspend))
        signal.signal(signal.SIGCONT, self._in_the_loop(self._continued))

    # -- writing

    def write(self, data: str) -> None:
        outlet = self._outlet
        if outlet is None:
            return
        if data == FRAME_START:
            self._frame = [data]
        elif data.startswith(MODES) and len(data) <= LONGEST_MODE and data != FRAME_END:
            outlet.put(data, refusable=False)
        elif self._frame is None:
            outlet.put(data, refusable=True)
        else:
            self._frame.append(data)
            if data == FRAME_END:
                outlet.put("".join(self._frame), refusable=True)
                self._frame = None

    # -- coming and going

    def start_application_mode(self) -> None:
        self._outlet = Outlet(self._screen, drained=lambda: self._tell(TerminalDrained()), lost=self._lose)
        super().start_application_mode()

    def _lose(self) -> None:
        # The thread that reads would spin on a terminal that is gone.
        self.exit_event.set()
        self._tell(TerminalLost())

    def _tell(self, message: Message) -> None:
        with suppress(RuntimeError):  # the app is through
            self._app.post_message(message)

    def disable_input(self) -> None:
        # From the background even this would stop the process.
        if self._outlet is not None:
            super().disable_input()

    def stop_application_mode(self) -> None:
        if self._outlet is not None:
            super().stop_application_mode()

    def close(self) -> None:
        super().close()
        outlet, self._outlet, self._frame = self._outlet, None, None
        if outlet is None or outlet.close(GRACE_SECONDS) or outlet.gone:
            return
        say_at_once(self._screen, LEAVE_SCREEN)

    # -- being suspended

    def _in_the_loop(self, work: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        """A signal handler that does its work between two messages of the app; a forked child has no part in it."""

        def handle(number: int, _: FrameType | None) -> None:
            if os.getpid() != self._process:
                return
            try:
                self._asyncio.call_soon_threadsafe(work)
            except RuntimeError:  # the app is through
                if number == signal.SIGTSTP:
                    os.kill(self._process, signal.SIGSTOP)

        return handle

    def _suspend(self) -> None:
        """Leave the terminal to the shell, then stop."""
        if self._outlet is not None:
            self.suspend_application_mode()
        os.kill(self._process, signal.SIGSTOP)

    def _continued(self) -> None:
        """Take the terminal again, once it is ours; a process that stopped without notice may find it changed."""
        if self._outlet is not None and in_front(self.fileno):
            self.suspend_application_mode()
        elif self._outlet is not None:
            self._withdraw(self._outlet)
        self._come_back()

    def _withdraw(self, outlet: Outlet) -> None:
        """Leave the terminal to the shell that has it already."""
        self.exit_event.set()
        if self._key_thread is not None:
            self._key_thread.join()
        self.exit_event.clear()
        super().close()
        outlet.close(0)
        self._outlet = None

    def _come_back(self) -> None:
        """A shell's `bg` lets training go on in the background, and its `fg` may send no signal then: look for it."""
        if self._outlet is not None or not self._app.is_running:
            return
        match in_front(self.fileno):
            case True:
                self.resume_application_mode()
                self._tell(TerminalDrained())
            case False:
                self._asyncio.call_later(LOOK_EVERY, self._come_back)
            case None:
                self._tell(TerminalLost())
