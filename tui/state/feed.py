"""The feed of a run: its events, queued by the thread that iterates the run and drained by the screen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.control import CommandName
from ...core.events import DeviceSampled, LogReplaced, RunEvent, RunStarted, StageStarted, StepCompleted
from ...core.runs.record import RunRecord
from ..format.event_lines import lines_of
from .handover import Handover

MAX_QUEUED = 10_000
MAX_LINES = 2_000
MAX_SAMPLES = 300
MAX_RANKS = 1024
"""Ranks whose device samples are kept."""

RequestCommand = Callable[[CommandName, str], None]


class Feed:
    """One run as a screen sees it: a record that `drain` updates, and `request` to send the run a command."""

    def __init__(
        self,
        events: Callable[[], Iterator[RunEvent]],
        request: RequestCommand,
        *,
        own: bool,
        unfollow: Callable[[], None] | None = None,
        handover: Handover | None = None,
    ) -> None:
        self.record = RunRecord()
        self.own = own
        """Whether this process trains the run; otherwise it follows one that another process trains."""
        self.handover = handover
        """Moves a run of this process to a background process."""
        self.lines: deque[tuple[float, str]] = deque(maxlen=MAX_LINES)
        """The log lines, each with its time."""
        self.lines_seen = 0
        self.samples: dict[int, deque[DeviceSampled]] = {}
        """The latest device samples of each rank, the newest last."""
        self._events = events
        self._request = request
        self._unfollow = unfollow
        self._waiting: deque[RunEvent] = deque()
        self._over = threading.Event()

    def iterate(self) -> None:
        """Iterate the run to its end, in a separate thread; steps and samples are dropped while the queue is full."""
        try:
            events = self._events()
            for event in self.handover.watch(events) if self.handover else events:
                if len(self._waiting) < MAX_QUEUED or not isinstance(event, StepCompleted | DeviceSampled):
                    self._waiting.append(event)
        finally:
            self._over.set()

    def drain(self) -> list[RunEvent]:
        """Return the events since the last call, after applying them to the record."""
        events = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for event in events:
            self.record.apply(event)
            self._keep_samples(event)
            for line in lines_of(event, self.record):
                # A stage in several parts reports its start once per part.
                if not (isinstance(event, StageStarted) and self.lines and self.lines[-1][1] == line):
                    self.add_line(event.t, line)
        return events

    def _keep_samples(self, event: RunEvent) -> None:
        match event:
            case DeviceSampled() if event.rank < MAX_RANKS:
                self.samples.setdefault(event.rank, deque(maxlen=MAX_SAMPLES)).append(event)
            case RunStarted():
                ranks = max(1, len(event.ranks))
                self.samples = {rank: kept for rank, kept in self.samples.items() if rank < ranks}
            case LogReplaced():
                self.samples.clear()
            case _:
                pass

    def add_line(self, t: float, line: str) -> None:
        """Append a log line."""
        self.lines.append((t, line))
        self.lines_seen += 1

    @property
    def over(self) -> bool:
        """Whether the run has ended and all its events were drained."""
        return self._over.is_set() and not self._waiting

    @property
    def handed_over_to(self) -> Path | None:
        """The directory of a run that this process handed over to another; else None."""
        return self.handover.folder if self.handover and self.record.status == "handed_over" else None

    def wait(self, seconds: float) -> bool:
        """Block until the run's last event is on disk; False if that takes longer than `seconds`."""
        return self._over.wait(seconds)

    def request(self, command: CommandName, reason: str = "requested in the app") -> None:
        """RequestCommand the run to stop, pause or save a checkpoint; it does so after the current batch."""
        self._request(command, reason)

    def unfollow(self) -> None:
        """Stop following another process's run; a run of this process is not affected."""
        if self._unfollow:
            self._unfollow()
