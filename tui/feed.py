"""What one training says, from the thread that iterates it to the screen that drains it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from core.control import CommandName
from core.events import DeviceSampled, RunEvent, StepCompleted
from core.record import RunRecord

MOST_WAITING = 10_000

Ask = Callable[[CommandName, str], None]


class Feed:
    """One run as a screen sees it: a record that `drain` brings up to date, and a way to ask the run for something."""

    def __init__(self, events: Callable[[], Iterator[RunEvent]], ask: Ask, *, own: bool) -> None:
        self.record = RunRecord()
        self.own = own
        """Whether this process trains; otherwise it only follows another's run."""
        self._events = events
        self._ask = ask
        self._waiting: deque[RunEvent] = deque()
        self._over = False

    def iterate(self) -> None:
        """Iterate the run to its end, in a thread of its own; what nobody drains is dropped if it is for the eye."""
        try:
            for event in self._events():
                if len(self._waiting) < MOST_WAITING or not isinstance(event, StepCompleted | DeviceSampled):
                    self._waiting.append(event)
        finally:
            self._over = True

    def drain(self) -> list[RunEvent]:
        """The events since the last call, folded into the record."""
        events = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for event in events:
            self.record.apply(event)
        return events

    @property
    def over(self) -> bool:
        """True when the run has said its last word and all of it was drained."""
        return self._over and not self._waiting

    def ask(self, command: CommandName, reason: str = "asked for in the app") -> None:
        """Ask the run to stop, pause or save; it obeys at the end of the batch in hand."""
        self._ask(command, reason)
