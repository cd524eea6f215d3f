"""A run without a screen: its events as rich progress, plain lines or JSON lines, and its exit code.

The run is iterated in a thread of its own that never writes anywhere; the main thread draws and takes signals. So a
terminal that nobody reads can hold up the drawing, never the training.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Protocol, TypeVar

from core.control import Control
from core.events import DeviceSampled, RunEvent, RunFailed, StepCompleted, to_json

MOST_WAITING = 10_000
GRACE_SECONDS = 3.0
EXIT_CODES = {"input": 2, "busy": 3}
_PIPE_CLOSED = 128 + signal.SIGPIPE


Event = TypeVar("Event")
_Shown = TypeVar("_Shown", contravariant=True)


class FrontEnd(Protocol[_Shown]):
    """What shows the events of a run, or of a study, in the main thread."""

    def show(self, event: _Shown) -> None:
        """Show one event; raises BrokenPipeError when nobody takes the output any more."""
        ...

    def tick(self) -> None:
        """Draw again, a few times a second."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found."""
        ...


class JsonLines:
    """One JSON object an event on stdout."""

    def show(self, event: RunEvent) -> None:
        sys.stdout.write(json.dumps(to_json(event)) + "\n")
        sys.stdout.flush()

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Pump:
    """Iterates a run in a thread, towards a queue that drops what is only for the eye when nobody reads it."""

    def __init__(self, events: Iterator[Any], control: Control) -> None:
        self.waiting: queue.Queue[Any] = queue.Queue()
        self.control = control
        self.signal: int | None = None
        self._leaving: threading.Timer | None = None
        self._thread = threading.Thread(target=self._pump, args=(events,), name="run", daemon=True)
        self._thread.start()

    def _pump(self, events: Iterator[Any]) -> None:
        try:
            for event in events:
                passing = isinstance(event, StepCompleted | DeviceSampled)
                if not passing or self.waiting.qsize() < MOST_WAITING:
                    self.waiting.put(event)
        finally:
            if self.signal is not None:
                # The run is safely on disk: a main thread that hangs on a dead terminal must not keep the process.
                self._leaving = threading.Timer(GRACE_SECONDS, os._exit, (128 + self.signal,))
                self._leaving.daemon = True
                self._leaving.start()
            self.waiting.put(None)

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Stop with a checkpoint; a second signal leaves at once, the run can be resumed all the same."""
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        self.control.request("stop", f"signal {signal.Signals(number).name}")

    def join(self) -> None:
        """Wait for the end of the run."""
        self._thread.join()

    def stay(self) -> None:
        """The main thread came through: the process need not be left in a hurry."""
        if self._leaving:
            self._leaving.cancel()


def run_exit_code(last: RunEvent | None, number: int | None) -> int:
    """What a run's last event means: 0 done, 1 failed, 2 wrong input, 3 busy, 128 + n where signal n stopped it."""
    if isinstance(last, RunFailed):
        return EXIT_CODES.get(last.error.kind, 1)
    return 0 if number is None else 128 + number


def drive(
    events: Iterator[Event],
    control: Control,
    front_end: FrontEnd[Event],
    exit_code: Callable[[Any, int | None], int] = run_exit_code,
) -> int:
    """Show a run, or a study, to its end and give the exit code of its last event and of the signal that came."""
    pump, last, broken = _Pump(events, control), None, False
    with _signals(pump.on_signal):
        while True:
            try:
                event = pump.waiting.get(timeout=0.1)
            except queue.Empty:
                event = None
                if pump.waiting.empty() and not broken:
                    broken = not _shown(front_end.tick, control)
                continue
            if event is None:
                break
            last = event
            if not broken:
                broken = not _shown(lambda shown=event: front_end.show(shown), control)
        pump.join()
        if not broken:
            with suppress(OSError):
                front_end.close()
        pump.stay()
    if broken:
        _forget_stdout()
        return _PIPE_CLOSED
    return exit_code(last, pump.signal)


def _shown(show: Callable[[], None], control: Control) -> bool:
    """Whether the output still goes somewhere; if not, the run is asked to stop."""
    try:
        show()
        return True
    except OSError:
        control.request("stop", "nobody reads the output any more")
        return False


def _forget_stdout() -> None:
    """Keep the interpreter from failing once more on the closed pipe when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        with suppress(OSError):
            os.dup2(nowhere, descriptor)


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
