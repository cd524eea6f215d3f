"""A heartbeat thread: detects that the process was suspended (laptop sleep, SIGSTOP), and checks the run's files.

It ticks however long a training step takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

TICK_SECONDS = 0.5
MAX_DELAY_SECONDS = 5.0
"""Longer gaps between two ticks count as suspension; a busy machine delays ticks, too."""


class SuspendDetector:
    """Measures gaps between ticks; `tick` is called by the heartbeat thread, the rest by the training thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._gaps: deque[float] = deque()

    def tick(self) -> None:
        """Note the time since the last tick."""
        now = self._clock()
        gap = now - self._last - TICK_SECONDS
        self._last = now
        if gap > MAX_DELAY_SECONDS:
            self._gaps.append(gap)

    def take_suspended_seconds(self) -> float:
        """Seconds that the process was suspended since the last call."""
        return sum(self._gaps.popleft() for _ in range(len(self._gaps)))


@contextmanager
def detecting_suspends(look: Callable[[], object]) -> Generator[SuspendDetector]:
    """Run the heartbeat thread, which calls `look` at every tick."""
    detector, over = SuspendDetector(), threading.Event()

    def work() -> None:
        while not over.wait(TICK_SECONDS):
            detector.tick()
            # Ahead of the training loop, which reports what is wrong.
            with suppress(Exception):
                look()

    thread = threading.Thread(target=work, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield detector
    finally:
        over.set()
        thread.join()
