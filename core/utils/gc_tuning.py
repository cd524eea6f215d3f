"""Raise the thresholds of Python's garbage collector: full collections are slow once torch is loaded."""

from __future__ import annotations

import atexit
import gc
import sys

GC_THRESHOLD = 50_000
"""New objects between two collections; with Python's default of 700 an import of torch runs hundreds of them."""


def collect_rarely() -> None:
    """Collect rarely from now on, and not at all at exit: saves a quarter of the time of just importing torch."""
    gc.set_threshold(GC_THRESHOLD, 50, 50)
    atexit.register(_skip_the_last_collection)


def _skip_the_last_collection() -> None:
    # With Triton loaded, its bindings would report every object that is still alive on stderr.
    if "triton" not in sys.modules:
        gc.freeze()
