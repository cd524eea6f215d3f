"""Disks that fail: at a chosen operation the process dies, or the disk refuses; and what was on them is counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from torchdeck.core.utils.files import Disk

Moment = Literal["before", "half", "after"]


class Crash(BaseException):
    """The process dies here; nothing of it runs any more."""


class FaultDisk(Disk):
    """Does what it is asked, but dies or refuses at operation number `at` (from 1); it never waits for a real disk.

    Half of a write are the first half of its bytes; half of any other operation is one that is done, but refused all
    the same.
    """

    def __init__(
        self, at: int = 0, fault: int | Literal["crash"] = "crash", moment: Moment = "before", lasting: int = 1
    ) -> None:
        self.operations = 0
        self.writes: list[int] = []
        self.at, self.fault, self.moment, self.lasting = at, fault, moment, lasting
        self.dead = False
        self._open: set[int] = set()

    @property
    def done(self) -> int:
        """How many operations were done."""
        return self.operations

    def bury(self) -> None:
        """Close what the dead process had open, as the kernel does."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    def _do(self, whole: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        if self.dead:
            raise Crash
        self.operations += 1
        if not self.at <= self.operations < self.at + self.lasting or not self.at:
            return whole()
        if self.moment == "half":
            (half or whole)()
        elif self.moment == "after":
            whole()
        if self.fault == "crash":
            self.dead = True
            raise Crash
        raise OSError(self.fault, os.strerror(self.fault))

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        def whole() -> int:
            descriptor = Disk.open(self, path, flags, mode)
            self._open.add(descriptor)
            return descriptor

        def half() -> None:
            os.close(Disk.open(self, path, flags, mode))

        return self._do(whole, half)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self.writes.append(self.operations + 1)
        return self._do(
            lambda: os.write(descriptor, content), lambda: os.write(descriptor, content[: len(content) // 2])
        )

    def sync(self, descriptor: int) -> None:  # noqa: ARG002
        self._do(lambda: None)

    def close(self, descriptor: int) -> None:
        if self.dead:
            raise Crash
        self._open.discard(descriptor)
        os.close(descriptor)
        self._do(lambda: None)

    def rename(self, source: Path, target: Path) -> None:
        self._do(lambda: os.replace(source, target))

    def mkdir(self, path: Path) -> None:
        self._do(lambda: os.mkdir(path))

    def unlink(self, path: Path) -> None:
        self._do(lambda: os.unlink(path))

    def rmdir(self, path: Path) -> None:
        self._do(lambda: os.rmdir(path))


class PickyDisk(Disk):
    """Refuses writes to files, and deletions, of the names that `refused` holds; it is never waited for."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self._names: dict[int, str] = {}

    def _ask(self, name: str) -> None:
        if name in self.refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        descriptor = super().open(path, flags, mode)
        self._names[descriptor] = path.name
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self._ask(self._names[descriptor])
        return super().write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        pass

    def unlink(self, path: Path) -> None:
        self._ask(path.name)
        super().unlink(path)
