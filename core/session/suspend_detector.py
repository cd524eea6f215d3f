"""Notices that the process stood still, as one does that was suspended: a thread that should beat missed its beats."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

BEAT_SECONDS = 1.0
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
def beating() -> Generator[Heart]:
    """A heart that beats while something trains."""
    heart, over = Heart(), threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            heart.beat()

    thread = threading.Thread(target=beat, name="heart", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        over.set()
        thread.join()
