"""The C library's heap while a CPU trains: freed memory is kept for the next step.

By default glibc gives large blocks back at once, and every step pays for their pages anew: a third of a step's time
where its tensors are some tens of megabytes.
"""

from __future__ import annotations

import ctypes
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def keep_freed_memory() -> None:
    """From now on, reuse blocks up to a gigabyte; nothing where the C library cannot."""
    if change := getattr(_library(), "mallopt", None):
        change(_MMAP_THRESHOLD, 2**30)
        change(_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Return what is free to the system now; nothing where the C library cannot."""
    if trim := getattr(_library(), "malloc_trim", None):
        trim(0)


def _library() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
