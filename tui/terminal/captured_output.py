"""What libraries print, kept off the screen: descriptors 1 and 2 go to a file that the app reads."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ...core.utils.files import open_to_append, write_all

MOST_AT_ONCE = 64 * 2**10
MOST_KEPT = 8 * 2**20
"""Bytes of what libraries printed that are kept of a run."""


class Console:
    """The printed text that was not read yet."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._offset = 0
        self._told: list[str] = []

    def add(self, text: str) -> None:
        """Take in what Python code printed, which never reached a descriptor."""
        self._told.append(text)

    def read(self) -> str:
        """What was printed since the last call."""
        told, self._told = "".join(self._told), []
        if self._file is None:
            return told
        content = os.pread(self._file.fileno(), MOST_AT_ONCE, self._offset)
        self._offset += len(content)
        return told + content.decode(errors="replace")


def keep(text: str, path: Path) -> None:
    """Add text to a file, up to a size; a disk that will not take it costs only the text."""
    with suppress(OSError):
        file = open_to_append(path)
        try:
            room = max(0, MOST_KEPT - os.fstat(file).st_size)
            write_all(file, text.encode(errors="replace")[:room])
        finally:
            os.close(file)


@contextmanager
def guarded() -> Generator[Console]:
    """Point descriptors 1 and 2 at a file while the app draws on a copy of the terminal."""
    saved, terminal = (os.dup(1), os.dup(2)), os.dup(2)
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    with (
        tempfile.TemporaryFile() as printed,
        open(terminal, "w", encoding="utf-8", errors="replace", closefd=True) as screen,
    ):
        # Textual draws on __stderr__ and asks __stdout__ for the size.
        sys.stdout = sys.stderr = screen
        sys.__stdout__ = sys.__stderr__ = screen  # pyright: ignore[reportAttributeAccessIssue]
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        try:
            yield Console(printed)
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            sys.stdout, sys.stderr = streams[:2]
            sys.__stdout__, sys.__stderr__ = streams[2:]  # pyright: ignore[reportAttributeAccessIssue]
            for descriptor in saved:
                os.close(descriptor)
