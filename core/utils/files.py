"""File operations that survive a crash: atomic writes, syncs, and reads that refuse links, pipes and huge files."""

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
    """All file operations that write, in one place, so that tests can inject disk errors."""

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        """Open a file for writing, or a folder for syncing; links are refused."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Write as much as the disk accepts at once; returns the number of bytes."""
        return os.write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        """Sync to disk: what was written survives a power cut."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor, which is closed even where this raises."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or folder, replacing a file of that name."""
        os.replace(source, target)

    def mkdir(self, path: Path) -> None:
        """Create a folder."""
        os.mkdir(path)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Delete an empty folder."""
        os.rmdir(path)


DISK = Disk()
"""The real disk."""

_MESSAGES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EIO: "the disk reports an input/output error",
}


def disk_error_text(error: OSError) -> str:
    """An OSError as text for the user."""
    return _MESSAGES.get(error.errno or 0) or error.strerror or str(error)


def is_disk_error(error: OSError) -> bool:
    """Whether an error is one of the disk, which may go away: full, over quota, read-only, no permission, I/O error."""
    return error.errno in _MESSAGES


def write_atomically(path: Path, content: bytes, *, durable: bool = False, disk: Disk = DISK) -> None:
    """Replace a file by writing a temporary file and renaming it; `durable` also survives a power cut."""
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
    """Write all of `content`, in as many parts as needed."""
    rest = memoryview(content)
    while rest:
        written = disk.write(descriptor, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def sync_folder(folder: Path, disk: Disk = DISK) -> None:
    """Sync a folder: the names in it survive a power cut."""
    descriptor = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def make_folders(folder: Path, disk: Disk = DISK) -> None:
    """Create a folder and its parents so that they survive a power cut; does nothing where it exists."""
    if folder.is_dir():
        return
    make_folders(folder.parent, disk)
    with contextlib.suppress(FileExistsError):
        disk.mkdir(folder)
    sync_folder(folder.parent, disk)


def remove_tree(folder: Path, disk: Disk = DISK) -> None:
    """Delete a folder with its contents; links are deleted, not followed."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path), disk)
        else:
            disk.unlink(Path(entry.path))
    disk.rmdir(folder)


def open_regular(path: str | Path, *, links: bool = False) -> int:
    """Open a regular file for reading, with `links` also the target of a link; pipes and devices are refused.

    Raises:
        OSError: the file is absent, unreadable or not a regular file.
    """
    # Without O_NONBLOCK, opening a pipe would block until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file rather than a link, pipe, device or folder."""
    return _mode(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, not a link to one."""
    return _mode(path, stat.S_ISDIR)


def is_at(path: Path, known: os.stat_result, *, follow: bool = False) -> bool:
    """Whether a path is the file or folder with this stat result."""
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
    """Open a regular file for reading and appending; it is created if it does not exist.

    Raises:
        OSError: the file cannot be written, or is not a regular one.
    """
    descriptor = disk.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    disk.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: str | Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Read a regular file of at most `max_bytes`.

    Raises:
        OSError: the file is absent, unreadable, not a regular file or larger.
    """
    with open(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", str(path))
        # Not read(max_bytes), which would allocate that much memory first.
        return file.read(size)


def read_json(path: str | Path) -> Any:
    """Read a JSON file; None where it is missing, unreadable, damaged, too large or nested too deep."""
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return None
    return None if too_deep(content) else content


def to_json_bytes(content: Any) -> bytes:
    """Indented JSON with a final newline; raises ValueError for a number that is not finite."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
