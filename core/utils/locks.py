"""Locks that a process holds on a folder for its life: taken, probed, and freed by the kernel when it dies."""

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


def take_lock(path: Path, disk: Disk = DISK, about: Mapping[str, Any] | None = None) -> int:
    """Lock a file for this process; the descriptor that holds the lock. Its owner, and more about it, stands in it.

    Raises:
        BlockingIOError: another process has it.
        OSError: the file cannot be written.
    """
    lock = disk.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    # A reader that probes holds a shared lock for an instant, so one refusal is not final.
    for attempt in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt == 19:
                disk.close(lock)
                raise
            time.sleep(0.01)
    # Only advice: a full disk need not keep anybody from the lock.
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        owner = {"pid": os.getpid(), "host": os.uname().nodename, **(about or {})}
        write_all(lock, json.dumps(owner).encode(), disk)
    return lock


def wait_for_lock(lock: int, timeout: float, clock: Callable[[], float] = time.monotonic) -> bool:
    """Lock an open file, once nobody else has; False where others kept it for `timeout` seconds."""
    end, pause = clock() + timeout, 0.001
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
    """Let others lock an open file."""
    fcntl.flock(lock, fcntl.LOCK_UN)


def lock_owner(path: Path) -> str:
    """Who wrote itself into a lock file, in words."""
    owner = read_json(path)
    return f"process {owner.get('pid')} on {owner.get('host')}" if isinstance(owner, dict) else "another process"


def is_held(path: str | Path) -> bool | None:
    """Whether a process holds the lock; None where that cannot be told."""
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
