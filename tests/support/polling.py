"""How tests wait for what other processes do, and fail where something waits that should not."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


def until(met: Callable[[], object], what: Callable[[], object] = lambda: "", seconds: float = 60.0) -> None:
    """Wait until a condition is met; fails with what is there instead when it is not in time."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, what()
        threading.Event().wait(0.02)


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Fail where something waits."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
