"""Python's search for objects that only hold each other: among all that torch loads it costs more than it finds."""

from __future__ import annotations

import atexit
import gc
import sys

ALLOCATIONS = 50_000
"""So many more objects made than freed bring a search about; Python's own 700 do so hundreds of times in an import."""


def search_seldom() -> None:
    """From now on, and not at all when the process ends: a quarter of the time of one that only loads torch."""
    gc.set_threshold(ALLOCATIONS, 50, 50)
    atexit.register(_leave_the_rest)


def _leave_the_rest() -> None:
    # Triton's binding would list on stderr all that it finds still there.
    if "triton" not in sys.modules:
        gc.freeze()
