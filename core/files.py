"""File operations that survive a crash: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a file by writing aside and renaming; `durable` also survives a power cut."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_new(aside, content, durable=durable)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def write_new(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file that must not exist yet."""
    with open(path, "xb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> int:
    """A descriptor to read a regular file with; links, pipes and devices are refused.

    Raises:
        OSError: the file is absent, unreadable or not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a regular file")
    return descriptor


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None where it is absent, unreadable or damaged."""
    try:
        with open(open_regular(path), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError):
        return None


def to_json_bytes(content: Any) -> bytes:
    """Indented JSON with a last newline; raises ValueError on a non-finite number."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
