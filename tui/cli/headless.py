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
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal, Protocol, TypeVar

from ...core.control import Control
from ...core.events import DeviceSampled, RunEvent, StepCompleted, to_json
from ..state.handover import HandOver
from ..terminal.broken_pipe import PIPE_CLOSED, discard_output
from ..terminal.exit_codes import run_exit_code
from ..terminal.shutdown import EXIT_TIMEOUTS, handle_signals
from ..terminal.terminal import SHOW_CURSOR, write_without_blocking

MOST_WAITING = 10_000


Event = TypeVar("Event")
_Shown = TypeVar("_Shown", contravariant=True)


class FrontEnd(Protocol[_Shown]):
    """What shows the events of a run, or of a study, in the main thread."""

    @property
    def descriptor(self) -> int:
        """Where it writes: 1 or 2."""
        ...

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

    descriptor = 1

    def show(self, event: RunEvent) -> None:
        sys.stdout.write(json.dumps(to_json(event)) + "\n")
        sys.stdout.flush()

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Pump:
    """Iterates a run in a thread, towards a queue that drops what is only for the eye when nobody reads it."""

    def __init__(
        self, events: Iterator[Any], control: Control, on_end: Callable[[Any], None], hand_over: HandOver | None
    ) -> None:
        self.waiting: queue.Queue[Any] = queue.Queue()
        self.signal: int | None = None
        self.shown = 0
        """How often the main thread came back from showing something."""
        self._control, self._on_end, self._hand_over = control, on_end, hand_over
        watched = hand_over.watch(events) if hand_over else events
        self._thread = threading.Thread(target=self._pump, args=(watched,), name="run", daemon=True)

    def start(self) -> None:
        """Begin to iterate."""
        self._thread.start()

    def _pump(self, events: Iterator[Any]) -> None:
        last = None
        try:
            for last in events:
                passing = isinstance(last, StepCompleted | DeviceSampled)
                if not passing or self.waiting.qsize() < MOST_WAITING:
                    self.waiting.put(last)
        finally:
            try:
                self._on_end(last)
            finally:
                self.waiting.put(None)

    def join(self) -> None:
        """Wait for the end of the run."""
        self._thread.join()

    # -- what `ShutdownTarget` asks for

    def request_exit(self, number: int) -> None:
        """Stop with a checkpoint, or hand over what outlives a hang-up."""
        self.signal = number
        if self._hand_over and number == signal.SIGHUP:
            self._hand_over.ask()
        else:
            self._stop()

    def _stop(self, *why: str) -> None:
        assert self.signal is not None
        self._control.request("stop", "; ".join((f"signal {signal.Signals(self.signal).name}", *why)))

    def wait_for_end(self, seconds: float) -> bool:
        """Wait for the last event, which is on disk by then."""
        if self._hand_over:
            self._hand_over.finish(self._stop)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def exit_code(self, number: int) -> int:
        """What a shell calls a process that a signal ended; a run that goes on elsewhere is no failure."""
        return 0 if self._hand_over and self._hand_over.done else 128 + number

    def restore_terminal(self) -> None:
        """Show the cursor that the progress hides."""
        if os.isatty(2):
            write_without_blocking(2, SHOW_CURSOR)


def drive(
    events: Iterator[Event],
    control: Control,
    front_end: FrontEnd[Event],
    exit_code: Callable[[Any, int | None], int] = run_exit_code,
    hand_over: HandOver | None = None,
) -> int:
    """Show a run, or a study, to its end and give the exit code of its last event and of the signal that came.

    A run with a way to hand it over goes it when the terminal is lost.
    """

    def on_end(last: Any) -> None:
        # A pipe may be read as late as its reader likes; a terminal that takes nothing is given up.
        if os.isatty(front_end.descriptor):
            handler.exit_when_stuck(exit_code(last, pump.signal), lambda: pump.shown)

    pump = _Pump(events, control, on_end, hand_over)
    with handle_signals(pump) as handler:
        pump.start()
        last, reader = _show_all(pump, front_end, control)
        pump.join()
        if reader == "there":
            with suppress(OSError):
                front_end.close()
    if reader != "there":
        discard_output()
    return PIPE_CLOSED if reader == "gone" and pump.signal is None else exit_code(last, pump.signal)


Reader = Literal["there", "gone", "hung up"]


def _show_all(pump: _Pump, front_end: FrontEnd[Any], control: Control) -> tuple[Any, Reader]:
    """Show events until the last; that one, and what became of who reads them."""
    last: Any = None
    reader: Reader = "there"
    while True:
        try:
            event = pump.waiting.get(timeout=0.1)
        except queue.Empty:
            if reader == "there" and pump.waiting.empty():
                reader = _shown(front_end.tick, control)
                pump.shown += 1
            continue
        if event is None:
            return last, reader
        last = event
        if reader == "there":
            reader = _shown(lambda shown=event: front_end.show(shown), control)
            pump.shown += 1


def _shown(show: Callable[[], None], control: Control) -> Reader:
    """Whether the output still goes somewhere; if not, the run is asked to stop, unless it ignores hang-ups."""
    try:
        show()
        return "there"
    except BrokenPipeError:
        control.request("stop", "nobody reads the output any more")
        return "gone"
    except OSError:
        # The terminal is gone, which a signal may or may not have told.
        signal.raise_signal(signal.SIGHUP)
        return "hung up"


def say_last(work: Callable[[], None], code: int) -> None:
    """Print a last word on stdout; a terminal that does not take it holds up the process only for a while."""
    if not os.isatty(1):
        return work()
    late = threading.Timer(EXIT_TIMEOUTS.screen, os._exit, (code,))
    late.daemon = True
    late.start()
    work()
    return late.cancel()
