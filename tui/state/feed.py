"""What one training says, from the thread that iterates it to the screen that drains it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.control import CommandName
from ...core.events import DeviceSampled, LogReplaced, RunEvent, RunStarted, StageStarted, StepCompleted
from ...core.runs.record import RunRecord
from ..format.event_lines import lines_of
from .handover import HandOver

MOST_WAITING = 10_000
MOST_LINES = 2_000
MOST_SAMPLES = 300
MOST_RANKS = 1024
"""Devices whose figures are kept."""

Ask = Callable[[CommandName, str], None]


class Feed:
    """One run as a screen sees it: a record that `drain` brings up to date, and a way to ask the run for something."""

    def __init__(
        self,
        events: Callable[[], Iterator[RunEvent]],
        ask: Ask,
        *,
        own: bool,
        leave: Callable[[], None] | None = None,
        hand_over: HandOver | None = None,
    ) -> None:
        self.record = RunRecord()
        self.own = own
        """Whether this process trains; otherwise it only follows another's run."""
        self.hand_over = hand_over
        """How a run of this process gets into one of its own."""
        self.lines: deque[tuple[float, str]] = deque(maxlen=MOST_LINES)
        """What it said as text, each line with its time."""
        self.lines_seen = 0
        self.samples: dict[int, deque[DeviceSampled]] = {}
        """The last figures of each rank's device, the newest last."""
        self._events = events
        self._ask = ask
        self._leave = leave
        self._waiting: deque[RunEvent] = deque()
        self._over = threading.Event()

    def iterate(self) -> None:
        """Iterate the run to its end, in a thread of its own; what nobody drains is dropped if it is for the eye."""
        try:
            events = self._events()
            for event in self.hand_over.watch(events) if self.hand_over else events:
                if len(self._waiting) < MOST_WAITING or not isinstance(event, StepCompleted | DeviceSampled):
                    self._waiting.append(event)
        finally:
            self._over.set()

    def drain(self) -> list[RunEvent]:
        """The events since the last call, folded into the record."""
        events = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for event in events:
            self.record.apply(event)
            self._keep_samples(event)
            for line in lines_of(event, self.record):
                # A stage that has parts begins with each of them.
                if not (isinstance(event, StageStarted) and self.lines and self.lines[-1][1] == line):
                    self.say(event.t, line)
        return events

    def _keep_samples(self, event: RunEvent) -> None:
        match event:
            case DeviceSampled() if event.rank < MOST_RANKS:
                self.samples.setdefault(event.rank, deque(maxlen=MOST_SAMPLES)).append(event)
            case RunStarted():
                ranks = max(1, len(event.ranks))
                self.samples = {rank: kept for rank, kept in self.samples.items() if rank < ranks}
            case LogReplaced():
                self.samples.clear()
            case _:
                pass

    def say(self, t: float, line: str) -> None:
        """Add a line to what it said."""
        self.lines.append((t, line))
        self.lines_seen += 1

    @property
    def over(self) -> bool:
        """True when the run has said its last word and all of it was drained."""
        return self._over.is_set() and not self._waiting

    @property
    def went_to(self) -> Path | None:
        """The directory of a run that was handed over from here."""
        return self.hand_over.folder if self.hand_over and self.record.status == "handed_over" else None

    def wait(self, seconds: float) -> bool:
        """Block until the run has said its last word, which is on disk by then; False where that takes too long."""
        return self._over.wait(seconds)

    def ask(self, command: CommandName, reason: str = "asked for in the app") -> None:
        """Ask the run to stop, pause or save; it obeys at the end of the batch in hand."""
        self._ask(command, reason)

    def leave(self) -> None:
        """Follow another process's run no longer; one's own training is not touched."""
        if self._leave:
            self._leave()
