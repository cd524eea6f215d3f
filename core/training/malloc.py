"""Tune glibc's malloc for training on a CPU: keep freed memory for the next step.

By default glibc returns large blocks to the system at once, and every step pays for their pages again: a third of a
step's time where its tensors have some tens of megabytes.
"""

from __future__ import annotations

import ctypes
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Constants of glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Reuse blocks of up to a gigabyte from now on; does nothing with other C libraries."""
    if change := getattr(_library(), "mallopt", None):
        change(_MMAP_THRESHOLD, 2**30)
        change(_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Return free memory to the system now; does nothing with other C libraries."""
    if trim := getattr(_library(), "malloc_trim", None):
        trim(0)


def _library() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
