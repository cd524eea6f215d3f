"""A heartbeat thread: detects that the process was suspended (laptop sleep, SIGSTOP), and looks after the run's files.

It beats however long a training step takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

BEAT_SECONDS = 0.5
LONGEST_STUTTER = 5.0
"""A busy machine delays a beat, too; only what takes longer counts."""


class Heart:
    """Beats in a thread of its own; `stood_still` is for the one thread that trains."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._missed: deque[float] = deque()

    def beat(self) -> None:
        """Note what passed since the last beat."""
        now = self._clock()
        missed = now - self._last - BEAT_SECONDS
        self._last = now
        if missed > LONGEST_STUTTER:
            self._missed.append(missed)

    def stood_still(self) -> float:
        """Seconds that the process stood still since this was last asked."""
        return sum(self._missed.popleft() for _ in range(len(self._missed)))


@contextmanager
def beating(look: Callable[[], object]) -> Generator[Heart]:
    """A heart that beats while something trains, and has a look at every beat."""
    heart, over = Heart(), threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            heart.beat()
            # Before the loop needs it; what is wrong there is the loop's to tell.
            with suppress(Exception):
                look()

    thread = threading.Thread(target=beat, name="heart", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        over.set()
        thread.join()
