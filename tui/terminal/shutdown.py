"""How the process leaves when a signal asks it to: the run first, then the screen, and neither for ever.

A signal handler only writes a byte to a pipe. A thread reads it, asks the run to stop, and sees to it that the process
ends, whatever the main thread hangs on.
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

from .terminal import WAKE

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Patience(NamedTuple):
    """How long the process waits before it ends itself, in seconds."""

    run: float = 30.0
    """For the batch in hand and a checkpoint, from the moment a stop was asked for."""
    screen: float = 3.0
    """For the screen to close, from the run's last event."""
    same: float = 0.5
    """A signal that is repeated faster is meant once, as by `timeout`, which sends two."""


PATIENCE = Patience()


class Leaving(Protocol):
    """What leaves: a run, and what shows it."""

    def leave(self, number: int) -> None:
        """Ask the run to end and the screen to close, as signal `number` says; in the departure's thread."""
        ...

    def ended(self, seconds: float) -> bool:
        """Wait for the run's last event on disk; whether it is there."""
        ...

    def code(self, number: int) -> int:
        """The exit code after signal `number`."""
        ...

    def put_back(self) -> None:
        """Leave the terminal as it was found, from any thread, without ever blocking."""
        ...


class Departure:
    """Takes signals while it is open, and ends the process where it would not end by itself."""

    def __init__(
        self, leaving: Leaving, end: Callable[[int], object] = os._exit, patience: Patience = PATIENCE
    ) -> None:
        self._leaving, self._end, self._patience = leaving, end, patience
        self._process = os.getpid()
        self._ear, self._bell = os.pipe()
        self._through = threading.Event()
        self._last = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="departure", daemon=True)
        self._thread.start()

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on; a forked child that inherited the handler has no part in it."""
        if os.getpid() == self._process:
            os.write(self._bell, bytes([number]))

    def depart(self, code: Callable[[], int]) -> None:
        """The run was asked to end: give it and the screen their time, then end the process with `code`."""
        self._beside(lambda: self._see_off(code))

    def end_when_stuck(self, code: int, progress: Callable[[], int]) -> None:
        """The run is over: end the process with `code` when what shows it makes no progress any more."""
        self._beside(lambda: self._watch(code, progress))

    def close(self) -> None:
        """The process came through by itself."""
        self._through.set()
        os.write(self._bell, bytes([0]))
        self._thread.join()
        os.close(self._ear)
        os.close(self._bell)

    def _beside(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="see off", daemon=True).start()

    def _listen(self) -> None:
        """Ask at the first signal, leave at a later one; a hang-up that comes along with another changes nothing."""
        begun, asked = False, None
        while number := os.read(self._ear, 1)[0]:
            now = time.monotonic()
            if not begun:
                begun = True
                self._leaving.leave(number)
                self.depart(partial(self._leaving.code, number))
            elif number != signal.SIGHUP and asked is not None and now - asked > self._patience.same:
                self._leave_now(128 + number)
            if number != signal.SIGHUP and asked is None:
                asked = now

    def _see_off(self, code: Callable[[], int]) -> None:
        ended = self._leaving.ended(self._patience.run)
        if not self._through.wait(self._patience.screen if ended else 0):
            self._leave_now(code())

    def _watch(self, code: int, progress: Callable[[], int]) -> None:
        seen = -1
        while seen != (seen := progress()):
            if self._through.wait(self._patience.screen):
                return
        self._leave_now(code)

    def _leave_now(self, code: int) -> None:
        # Another would throw away what this one says to the terminal, and the process end before it says it again.
        with self._last:
            self._leaving.put_back()
            self._end(code)


@contextmanager
def signals_taken(leaving: Leaving) -> Generator[Departure]:
    """Take the signals that end a process; those that were ignored at its start, as under nohup, stay ignored."""
    departure = Departure(leaving)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number, old in before.items() if old is not signal.SIG_IGN]
    before[WAKE] = signal.signal(WAKE, lambda *_: None)
    for number in taken:
        signal.signal(number, departure.on_signal)
    try:
        yield departure
    finally:
        for number in (*taken, WAKE):
            signal.signal(number, before[number])
        departure.close()


HangupPolicy = Literal["hand-over", "stop"]
