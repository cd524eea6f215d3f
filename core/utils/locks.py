"""File locks (flock): taken by a process for its lifetime, tested by others, released by the kernel when it dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .files import DISK, Disk, open_regular, read_json, write_all

LOCK_TIMEOUT = 60.0
"""Seconds that others may keep a lock that is held for a moment at a time."""


def open_lock(path: Path, disk: Disk = DISK) -> int:
    """Open a lock file, which is created if it does not exist.

    Whoever may read it could hold a shared lock and keep the owner out, so only the owner and the group may.
    """
    lock = disk.open(path, os.O_RDWR | os.O_CREAT, 0o660)
    with contextlib.suppress(OSError):  # of another owner, or a file system without permissions
        os.fchmod(lock, os.fstat(lock).st_mode & 0o770)
    return lock


def take_lock(path: Path, disk: Disk = DISK, about: Mapping[str, Any] | None = None) -> int:
    """Lock a file for this process and write its pid, host and `about` into it; returns the descriptor of the lock.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the file cannot be written.
    """
    lock = open_lock(path, disk)
    # A process that only tests the lock holds a shared one for an instant, so a first refusal is not final.
    for attempt in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == 19:
                disk.close(lock)
                raise
            time.sleep(0.01)
    # The content is only informative: a full disk must not keep anybody from locking.
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        owner = {"pid": os.getpid(), "host": os.uname().nodename, **(about or {})}
        write_all(lock, json.dumps(owner).encode(), disk)
    return lock


def wait_for_lock(lock: int, clock: Callable[[], float] = time.monotonic) -> bool:
    """Lock an open file as soon as it is free; False where it was not within `LOCK_TIMEOUT` seconds."""
    end, pause = clock() + LOCK_TIMEOUT, 0.001
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if clock() > end:
                return False
        time.sleep(pause)
        pause = min(0.05, pause * 2)


def release_lock(lock: int) -> None:
    """Release the lock of an open file."""
    fcntl.flock(lock, fcntl.LOCK_UN)


def lock_owner(path: Path) -> str:
    """The owner that a lock file names, as text: "process 123 on the-host"."""
    owner = read_json(path)
    return f"process {owner.get('pid')} on {owner.get('host')}" if isinstance(owner, dict) else "another process"


def is_held(path: str | Path) -> bool | None:
    """Whether a process holds the lock; None where that cannot be tested."""
    try:
        lock = open_regular(path)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(lock)
