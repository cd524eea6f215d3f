"""The open files of an active run: found again where the run folder is renamed, created again where it is removed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import Literal

from ..utils.files import (
    DISK,
    Disk,
    is_at,
    is_folder,
    make_folders,
    open_regular,
    open_to_append,
    read_regular,
    remove_tree,
    write_all,
    write_atomically,
)
from ..utils.held_folder import HeldFolder
from ..utils.locks import take_lock

Change = Literal["renamed", "made again"]
_PART = 2**20
_END = 64
"""Bytes at the end of a log that distinguish it from others; they include the checksum of the last line."""


class RunFiles:
    """The lock and the log of a run, and the content of its run.json."""

    def __init__(self, folder: Path, lock: int, disk: Disk = DISK) -> None:
        """Take over a lock.

        Raises:
            OSError: the log cannot be written; the lock is still held.
        """
        self.lock, self.disk = lock, disk
        self.log = open_to_append(folder / "events.jsonl", disk)
        self.header = _content(folder / "run.json")
        """The content of run.json; empty before it is written."""
        self._held = HeldFolder(folder)

    @property
    def folder(self) -> Path:
        """The run folder now."""
        return self._held.path

    def ensure_in_place(self) -> Change | None:
        """Make sure that the files are in the run folder; returns what had to be done for that.

        Raises:
            OSError: they are gone and cannot be created again.
        """
        if self._in_place():
            return None
        before = self.folder
        if self._held.find() and self.folder != before and self._in_place():
            return "renamed"
        self._make_again()
        return "made again"

    def close(self) -> None:
        """Close the log and release the lock."""
        self._close(self.log, self.lock)

    def _close(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                self.disk.close(descriptor)

    def _in_place(self) -> bool:
        names = ["run.lock", *(["run.json"] if self.header else [])]
        return self._is_log(self.folder / "events.jsonl") and all(os.path.lexists(self.folder / name) for name in names)

    def _is_log(self, path: Path) -> bool:
        """Whether a path is the log; compared by its end where the file system has no stable inode numbers."""
        here = os.fstat(self.log)
        try:
            there = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # a disk error is no evidence that the file is gone
        return os.path.samestat(here, there) or (here.st_size == there.st_size and _end(self.log) == _end_of(path))

    def _make_again(self) -> None:
        """Create the missing files again, where they were."""
        folder, lock = self.folder, self.lock
        new = not os.path.lexists(folder)
        if not new and (not is_folder(folder) or _content(folder / "run.json") not in (b"", self.header)):
            raise FileExistsError(errno.EEXIST, "its folder was removed, and something else has its name")
        make_folders(folder, self.disk)
        try:
            if not is_at(folder / "run.lock", os.fstat(lock)):
                lock = take_lock(folder / "run.lock", self.disk)
            self._copy_log(folder / "events.jsonl")
            if self.header:
                write_atomically(folder / "run.json", self.header, durable=True, disk=self.disk)
            made = RunFiles(folder, lock, self.disk)
        except BaseException:
            self._close(*({lock} - {self.lock}))
            if new:
                with contextlib.suppress(OSError):
                    remove_tree(folder, self.disk)
            raise
        self._close(self.log, *({self.lock} - {lock}))
        self.log, self.lock, self._held = made.log, made.lock, made._held

    def _copy_log(self, target: Path) -> None:
        """Copy the log, which is complete as long as it is open."""
        room = os.statvfs(target.parent)
        if os.fstat(self.log).st_size > room.f_bavail * room.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        copy = self.disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            place = 0
            while part := os.pread(self.log, _PART, place):
                write_all(copy, part, self.disk)
                place += len(part)
            self.disk.sync(copy)
        finally:
            self.disk.close(copy)
        self.disk.rename(aside, target)


def _content(path: Path) -> bytes:
    """The content of a file; empty where it cannot be read."""
    with contextlib.suppress(OSError):
        return read_regular(path)
    return b""


def _end(descriptor: int) -> bytes:
    return os.pread(descriptor, _END, max(0, os.fstat(descriptor).st_size - _END))


def _end_of(path: Path) -> bytes | None:
    """The end of a log; None where it cannot be read."""
    with contextlib.suppress(OSError), os.fdopen(open_regular(path), "rb") as file:
        return _end(file.fileno())
    return None
