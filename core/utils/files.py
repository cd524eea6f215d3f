"""File operations that survive a crash: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .validation import too_deep

MAX_JSON_BYTES = 64 * 2**20


class Disk:
    """The operations of all who write: the one place where a disk can refuse."""

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        """A descriptor to write a file with, or to make a folder's names durable with; links are refused."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Write what the disk takes at once; how many bytes it took."""
        return os.write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        """Make what was written survive a power cut."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give a descriptor back, which is gone even where this raises."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or folder another name; a file that has it is replaced."""
        os.replace(source, target)

    def mkdir(self, path: Path) -> None:
        """Make a folder."""
        os.mkdir(path)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Delete an empty folder."""
        os.rmdir(path)


DISK = Disk()
"""The real one."""

_MESSAGES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EIO: "the disk reports an input/output error",
}


def disk_error_text(error: OSError) -> str:
    """Why the disk refused, as a person would say it."""
    return _MESSAGES.get(error.errno or 0) or error.strerror or str(error)


def is_disk_error(error: OSError) -> bool:
    """Whether it is the disk that refused, which may take it later."""
    return error.errno in _MESSAGES


def write_atomically(path: Path, content: bytes, *, durable: bool = False, disk: Disk = DISK) -> None:
    """Replace a file by writing aside and renaming; `durable` also survives a power cut."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_new(temporary, content, durable=durable, disk=disk)
        disk.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            disk.unlink(temporary)
        raise
    if durable:
        sync_folder(path.parent, disk)


def write_new(path: Path, content: bytes, *, durable: bool = True, disk: Disk = DISK) -> None:
    """Write a file that must not exist yet."""
    file = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(file, content, disk)
        if durable:
            disk.sync(file)
    finally:
        disk.close(file)


def write_all(descriptor: int, content: bytes, disk: Disk = DISK) -> None:
    """Write all of it, in as many parts as the disk takes it in."""
    rest = memoryview(content)
    while rest:
        written = disk.write(descriptor, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def sync_folder(folder: Path, disk: Disk = DISK) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def make_folders(folder: Path, disk: Disk = DISK) -> None:
    """Make a folder, and those above it, so that they survive a power cut; one that is there is as good."""
    if folder.is_dir():
        return
    make_folders(folder.parent, disk)
    with contextlib.suppress(FileExistsError):
        disk.mkdir(folder)
    sync_folder(folder.parent, disk)


def remove_tree(folder: Path, disk: Disk = DISK) -> None:
    """Delete a folder and what is in it; links are deleted, not followed."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path), disk)
        else:
            disk.unlink(Path(entry.path))
    disk.rmdir(folder)


def open_regular(path: str | Path, *, links: bool = False) -> int:
    """A descriptor to read a regular file with, or with `links` what one leads to; pipes and devices are refused.

    Raises:
        OSError: the file is absent, unreadable or not a regular file.
    """
    # Without O_NONBLOCK, to open a pipe would wait for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def is_regular(path: Path) -> bool:
    """Whether a file is there that is no link, pipe, device or folder."""
    return _mode(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Whether a folder is there that is no link to one."""
    return _mode(path, stat.S_ISDIR)


def is_at(path: Path, known: os.stat_result, *, follow: bool = False) -> bool:
    """Whether a path leads to the file or folder whose state is known."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=follow), known)
    except OSError:
        return False


def _mode(path: Path, test: Callable[[int], bool]) -> bool:
    try:
        return test(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def open_to_append(path: Path, disk: Disk = DISK) -> int:
    """A descriptor to read a regular file with, and to write at its end; it is made if it is not there.

    Raises:
        OSError: the file cannot be written, or is not a regular one.
    """
    descriptor = disk.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    disk.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: str | Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises:
        OSError: the file is absent, unreadable, not a regular file or larger.
    """
    with open(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", str(path))
        # No more: to read so much, that much memory is taken first.
        return file.read(size)


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; None where it is absent, unreadable, damaged, too large or nested too deep."""
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return None
    return None if too_deep(content) else content


def to_json_bytes(content: Any) -> bytes:
    """Indented JSON with a last newline; raises ValueError on a non-finite number."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
