"""A heartbeat thread: detects that the process was suspended (laptop sleep, SIGSTOP), and checks the run's files.

It ticks however long a training step takes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

TICK_SECONDS = 0.5
MAX_DELAY_SECONDS = 5.0
"""Longer gaps between two ticks count as suspension, unless the process waited for a free CPU."""


class SuspendDetector:
    """Measures gaps between ticks; `tick` is called by the heartbeat thread, the rest by the training thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, waited: Callable[[], float] | None = None) -> None:
        self._clock, self._waited = clock, waited or seconds_waited_for_a_cpu
        self._last, self._waited_before = clock(), self._waited()
        self._gaps: deque[float] = deque()

    def tick(self) -> None:
        """Note the time since the last tick, but for the time in which a busy machine left the process waiting."""
        now, waited = self._clock(), self._waited()
        gap = now - self._last - TICK_SECONDS - max(0.0, waited - self._waited_before)
        self._last, self._waited_before = now, waited
        if gap > MAX_DELAY_SECONDS:
            self._gaps.append(gap)

    def take_suspended_seconds(self) -> float:
        """Seconds that the process was suspended since the last call."""
        return sum(self._gaps.popleft() for _ in range(len(self._gaps)))


def seconds_waited_for_a_cpu() -> float:
    """Seconds that the threads of this process were ready to run and had no CPU; 0 where the system does not tell."""
    nanoseconds = 0
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError, ValueError, IndexError), open(f"/proc/self/task/{thread}/schedstat") as file:
                nanoseconds += int(file.read().split()[1])
    return nanoseconds / 1e9


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
