"""Shut the process down on a signal: end the run first, then the screen, each within a time limit.

The signal handler only writes a byte to a pipe. A thread reads it, asks the run to stop, and makes sure that the
process ends even if the main thread hangs.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Literal, NamedTuple, Protocol

from .terminal import WAKE_SIGNAL

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class ExitTimeouts(NamedTuple):
    """How many seconds the process waits before it ends itself."""

    run: float = 30.0
    """For the current batch and a checkpoint, counted from the stop request."""
    screen: float = 3.0
    """For the screen to close, counted from the run's last event."""
    repeat: float = 0.5
    """Signals that follow each other faster count as one: `timeout`, for example, sends two."""


EXIT_TIMEOUTS = ExitTimeouts()


class ShutdownTarget(Protocol):
    """What is shut down: a run, and the screen or output that shows it."""

    def request_exit(self, number: int) -> None:
        """Ask the run to end and the screen to close because of signal `number`; called in the handler's thread."""
        ...

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until the run's last event is on disk; False if that takes longer than `seconds`."""
        ...

    def exit_code(self, number: int) -> int:
        """The exit code after signal `number`."""
        ...

    def restore_terminal(self) -> None:
        """Restore the terminal's settings; callable from any thread, never blocks."""
        ...


class ShutdownHandler:
    """Handles signals while it is open, and ends the process if it does not end by itself."""

    def __init__(
        self, target: ShutdownTarget, end: Callable[[int], object] = os._exit, timeouts: ExitTimeouts = EXIT_TIMEOUTS
    ) -> None:
        self._target, self._end, self._timeouts = target, end, timeouts
        self._process = os.getpid()
        self._wake_read, self._wake_write = os.pipe()
        self._closed = threading.Event()
        self._last = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="shutdown", daemon=True)
        self._thread.start()

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Forward a signal to the thread; a forked child that inherited the handler ignores it."""
        if os.getpid() == self._process:
            os.write(self._wake_write, bytes([number]))

    def exit_after_run(self, code: Callable[[], int]) -> None:
        """End the process with `code` once the run and the screen have ended, or their time is up."""
        self._in_thread(lambda: self._exit_in_time(code))

    def exit_when_stuck(self, code: int, progress: Callable[[], int]) -> None:
        """After the run: end the process with `code` as soon as showing it makes no more progress."""
        self._in_thread(lambda: self._exit_without_progress(code, progress))

    def close(self) -> None:
        """Stop handling signals: the process ends normally."""
        self._closed.set()
        os.write(self._wake_write, bytes([0]))
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _in_thread(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="exit", daemon=True).start()

    def _listen(self) -> None:
        """Request an exit at the first signal, exit at a later one; a SIGHUP beside another signal is ignored."""
        requested, asked = False, None
        while number := os.read(self._wake_read, 1)[0]:
            now = time.monotonic()
            if not requested:
                requested = True
                self._target.request_exit(number)
                self.exit_after_run(partial(self._target.exit_code, number))
            elif number != signal.SIGHUP and asked is not None and now - asked > self._timeouts.repeat:
                self._exit_now(128 + number)
            if number != signal.SIGHUP and asked is None:
                asked = now

    def _exit_in_time(self, code: Callable[[], int]) -> None:
        ended = self._target.wait_for_end(self._timeouts.run)
        if not self._closed.wait(self._timeouts.screen if ended else 0):
            self._exit_now(code())

    def _exit_without_progress(self, code: int, progress: Callable[[], int]) -> None:
        seen = -1
        while seen != (seen := progress()):
            if self._closed.wait(self._timeouts.screen):
                return
        self._exit_now(code)

    def _exit_now(self, code: int) -> None:
        # Else a second thread could discard what this one writes to the terminal, and end before writing it again.
        with self._last:
            self._target.restore_terminal()
            self._end(code)


@contextmanager
def handle_signals(target: ShutdownTarget) -> Generator[ShutdownHandler]:
    """Handle the signals that end a process; those that were ignored at its start, as under nohup, stay ignored."""
    handler = ShutdownHandler(target)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number, old in before.items() if old is not signal.SIG_IGN]
    before[WAKE_SIGNAL] = signal.signal(WAKE_SIGNAL, lambda *_: None)
    for number in handled:
        signal.signal(number, handler.on_signal)
    try:
        yield handler
    finally:
        for number in (*handled, WAKE_SIGNAL):
            signal.signal(number, before[number])
        handler.close()


HangupPolicy = Literal["hand-over", "stop"]
