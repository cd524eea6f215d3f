"""File operations that survive a crash: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from core.typed import too_deep

LARGEST_JSON = 64 * 2**20


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
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def read_regular(path: Path, most: int = LARGEST_JSON) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises:
        OSError: the file is absent, unreadable, not a regular file or larger.
    """
    with open(open_regular(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
        return file.read(most)


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where it is absent, unreadable, damaged, too large or nested too deep."""
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return None
    return None if too_deep(content) else content


def to_json_bytes(content: Any) -> bytes:
    """Indented JSON with a last newline; raises ValueError on a non-finite number."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
