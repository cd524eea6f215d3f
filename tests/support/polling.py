"""How tests wait for what other processes do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def until(met: Callable[[], object], what: Callable[[], object] = lambda: "", seconds: float = 60.0) -> None:
    """Wait until a condition is met; fails with what is there instead when it is not in time."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, what()
        threading.Event().wait(0.02)
