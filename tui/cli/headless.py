"""Show a run without the app: its events as progress bars, plain lines or JSON lines, and its exit code.

A separate thread iterates the run and never writes; the main thread draws and handles signals. So a terminal that
nobody reads can block the drawing, but never the training.
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
from typing import Any, Generic, Literal, TypeVar

from ...core.control import Control
from ...core.events import DeviceSampled, StepCompleted, to_json
from ..state.handover import Handover
from ..terminal.broken_pipe import PIPE_CLOSED, discard_output
from ..terminal.exit_codes import run_exit_code
from ..terminal.shutdown import EXIT_TIMEOUTS, handle_signals
from ..terminal.terminal import SHOW_CURSOR, write_without_blocking

MAX_QUEUED = 10_000


Event = TypeVar("Event")
_Shown = TypeVar("_Shown", contravariant=True)


class FrontEnd(Generic[_Shown]):
    """Shows the events of a run or of a study, in the main thread."""

    descriptor = 2
    """The descriptor that it writes to: 1 or 2."""

    def show(self, event: _Shown) -> None:
        """Show one event; raises BrokenPipeError if nobody reads the output any more."""
        raise NotImplementedError

    def tick(self) -> None:
        """Redraw; called a few times a second."""

    def close(self) -> None:
        """Restore the terminal."""


class JsonLines(FrontEnd[Any]):
    """One JSON object per event on stdout."""

    descriptor = 1

    def __init__(self, encode: Callable[[Any], dict[str, Any]] = to_json) -> None:
        self._encode = encode

    def show(self, event: Any) -> None:
        sys.stdout.write(json.dumps(self._encode(event)) + "\n")
        sys.stdout.flush()


class _Pump:
    """Iterates a run in a thread into a queue; steps and samples are dropped while nobody reads it."""

    def __init__(
        self, events: Iterator[Any], control: Control, on_end: Callable[[Any], None], handover: Handover | None
    ) -> None:
        self.queued: queue.Queue[Any] = queue.Queue()
        self.signal: int | None = None
        self.shown = 0
        """How often the main thread has shown something: a counter that stops if it hangs."""
        self._control, self._on_end, self._handover = control, on_end, handover
        watched = handover.watch(events) if handover else events
        self._thread = threading.Thread(target=self._pump, args=(watched,), name="run", daemon=True)

    def start(self) -> None:
        """Start iterating."""
        self._thread.start()

    def _pump(self, events: Iterator[Any]) -> None:
        last = None
        try:
            for last in events:
                droppable = isinstance(last, StepCompleted | DeviceSampled)
                if not droppable or self.queued.qsize() < MAX_QUEUED:
                    self.queued.put(last)
        finally:
            try:
                self._on_end(last)
            finally:
                self.queued.put(None)

    def join(self) -> None:
        """Wait for the end of the run."""
        self._thread.join()

    # -- what `ShutdownTarget` asks for

    def request_exit(self, number: int) -> None:
        """Stop the run with a checkpoint, or at SIGHUP hand it over."""
        self.signal = number
        if self._handover and number == signal.SIGHUP:
            self._handover.request()
        else:
            self._stop()

    def _stop(self, *why: str) -> None:
        assert self.signal is not None
        self._control.request("stop", "; ".join((f"signal {signal.Signals(self.signal).name}", *why)))

    def wait_for_end(self, seconds: float) -> bool:
        """Wait for the last event, which is then on disk."""
        if self._handover:
            self._handover.finish(self._stop)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def exit_code(self, number: int) -> int:
        """0 if another process continues the run, else 128 + n as in a shell."""
        return 0 if self._handover and self._handover.done else 128 + number

    def restore_terminal(self) -> None:
        """Show the cursor, which the progress bars hide."""
        if os.isatty(2):
            write_without_blocking(2, SHOW_CURSOR)


def drive(
    events: Iterator[Event],
    control: Control,
    front_end: FrontEnd[Event],
    exit_code: Callable[[Any, int | None], int] = run_exit_code,
    handover: Handover | None = None,
) -> int:
    """Show a run or a study to its end; returns the exit code for its last event and the signal received, if any.

    With a `handover`, the run moves to a background process when the terminal is lost.
    """

    def on_end(last: Any) -> None:
        # The reader of a pipe may take its time; a terminal that accepts nothing is given up.
        if os.isatty(front_end.descriptor):
            handler.exit_when_stuck(exit_code(last, pump.signal), lambda: pump.shown)

    pump = _Pump(events, control, on_end, handover)
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
    """Show events until the last; returns that one, and whether the output is still read."""
    last: Any = None
    reader: Reader = "there"
    while True:
        try:
            event = pump.queued.get(timeout=0.1)
        except queue.Empty:
            if reader == "there" and pump.queued.empty():
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
    """Show something; if the output is not read any more, ask the run to stop, unless SIGHUP is ignored."""
    try:
        show()
        return "there"
    except BrokenPipeError:
        control.request("stop", "nobody reads the output any more")
        return "gone"
    except OSError:
        # The terminal was closed, with or without a signal.
        signal.raise_signal(signal.SIGHUP)
        return "hung up"


def print_last(work: Callable[[], None], code: int) -> None:
    """Print the results on stdout; a terminal that does not accept them delays the exit only for a while."""
    if not os.isatty(1):
        return work()
    timer = threading.Timer(EXIT_TIMEOUTS.screen, os._exit, (code,))
    timer.daemon = True
    timer.start()
    work()
    return timer.cancel()
