"""Textual's terminal driver, extended for terminals that stall, disconnect, or are suspended by a shell.

Frames that the terminal does not accept are dropped whole, and the screen is redrawn once it accepts them again. So
neither the app nor the training thread beside it ever waits for the terminal.
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
from .terminal import LEAVE_SCREEN, TerminalWriter, is_foreground, write_without_blocking

FRAME_START = "\x1b[?2026h"
FRAME_END = "\x1b[?2026l"
MODES = ("\x1b[?", "\x1b[<", "\x1b[>")
MAX_MODE_LENGTH = 16
CLOSE_SECONDS = 1.0
FOREGROUND_POLL_SECONDS = 0.5


class TerminalDriver(LinuxDriver):
    """Never blocks the app: output goes through `TerminalWriter`, Textual's own writer thread stays idle."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert self._file is not None
        self._screen = self._file.fileno()
        self._writer: TerminalWriter | None = None
        self._frame: list[str] | None = None
        self._asyncio = asyncio.get_running_loop()
        self._process = os.getpid()
        # These replace Textual's handlers, which start two threads at each SIGCONT and run at any point of the code.
        signal.signal(signal.SIGTSTP, self._in_the_loop(self._suspend))
        signal.signal(signal.SIGCONT, self._in_the_loop(self._continued))

    # -- writing

    def write(self, data: str) -> None:
        writer = self._writer
        if writer is None:
            return
        if data == FRAME_START:
            self._frame = [data]
        elif data.startswith(MODES) and len(data) <= MAX_MODE_LENGTH and data != FRAME_END:
            writer.put(data, refusable=False)
        elif self._frame is None:
            writer.put(data, refusable=True)
        else:
            self._frame.append(data)
            if data == FRAME_END:
                writer.put("".join(self._frame), refusable=True)
                self._frame = None

    # -- starting and closing

    def start_application_mode(self) -> None:
        self._writer = TerminalWriter(self._screen, drained=lambda: self._post(TerminalDrained()), lost=self._lose)
        super().start_application_mode()

    def _lose(self) -> None:
        # The input thread would spin on a closed terminal.
        self.exit_event.set()
        self._post(TerminalLost())

    def _post(self, message: Message) -> None:
        with suppress(RuntimeError):  # the app has ended
            self._app.post_message(message)

    def disable_input(self) -> None:
        # From the background even this would stop the process (SIGTTOU).
        if self._writer is not None:
            super().disable_input()

    def stop_application_mode(self) -> None:
        if self._writer is not None:
            super().stop_application_mode()

    def close(self) -> None:
        super().close()
        writer, self._writer, self._frame = self._writer, None, None
        if writer is None or writer.close(CLOSE_SECONDS) or writer.gone:
            return
        write_without_blocking(self._screen, LEAVE_SCREEN)

    # -- suspending

    def _in_the_loop(self, work: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        """A signal handler that runs `work` in the app's event loop; a forked child ignores it."""

        def handle(number: int, _: FrameType | None) -> None:
            if os.getpid() != self._process:
                return
            try:
                self._asyncio.call_soon_threadsafe(work)
            except RuntimeError:  # the app has ended
                if number == signal.SIGTSTP:
                    os.kill(self._process, signal.SIGSTOP)

        return handle

    def _suspend(self) -> None:
        """Release the terminal, then stop the process."""
        if self._writer is not None:
            self.suspend_application_mode()
        os.kill(self._process, signal.SIGSTOP)

    def _continued(self) -> None:
        """Reset the terminal after SIGCONT: a process stopped by SIGSTOP could not release it first."""
        if self._writer is not None and is_foreground(self.fileno):
            self.suspend_application_mode()
        elif self._writer is not None:
            self._withdraw(self._writer)
        self._resume_in_foreground()

    def _withdraw(self, writer: TerminalWriter) -> None:
        """Release a terminal that the shell has already taken."""
        self.exit_event.set()
        if self._key_thread is not None:
            self._key_thread.join()
        self.exit_event.clear()
        super().close()
        writer.close(0)
        self._writer = None

    def _resume_in_foreground(self) -> None:
        """Resume once in the foreground; polled, because `fg` after `bg`, which trains on, may send no signal."""
        if self._writer is not None or not self._app.is_running:
            return
        match is_foreground(self.fileno):
            case True:
                self.resume_application_mode()
                self._post(TerminalDrained())
            case False:
                self._asyncio.call_later(FOREGROUND_POLL_SECONDS, self._resume_in_foreground)
            case None:
                self._post(TerminalLost())
