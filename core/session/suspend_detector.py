"""A heartbeat thread: detects that the process was suspended (laptop sleep, SIGSTOP), and looks after the run's files.

It beats however long a training step takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

TICK_SECONDS = 0.5
MAX_DELAY_SECONDS = 5.0
"""A busy machine delays a beat, too; only what takes longer counts."""


class SuspendDetector:
    """Beats in a thread of its own; `stood_still` is for the one thread that trains."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._gaps: deque[float] = deque()

    def tick(self) -> None:
        """Note what passed since the last beat."""
        now = self._clock()
        gap = now - self._last - TICK_SECONDS
        self._last = now
        if gap > MAX_DELAY_SECONDS:
            self._gaps.append(gap)

    def take_suspended_seconds(self) -> float:
        """Seconds that the process stood still since this was last asked."""
        return sum(self._gaps.popleft() for _ in range(len(self._gaps)))


@contextmanager
def detecting_suspends(look: Callable[[], object]) -> Generator[SuspendDetector]:
    """A heart that beats while something trains, and has a look at every beat."""
    detector, over = SuspendDetector(), threading.Event()

    def beat() -> None:
        while not over.wait(TICK_SECONDS):
            detector.tick()
            # Before the loop needs it; what is wrong there is the loop's to tell.
            with suppress(Exception):
                look()

    thread = threading.Thread(target=beat, name="heart", daemon=True)
    thread.start()
    try:
        yield detector
    finally:
        over.set()
        thread.join()
