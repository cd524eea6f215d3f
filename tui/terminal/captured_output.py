"""Capture what libraries print, which would garble the screen: descriptors 1 and 2 go to a file that the app reads."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ...core.utils.files import open_to_append, write_all

MAX_READ = 64 * 2**10
MAX_LOG_SIZE = 8 * 2**20
"""Bytes of printed output that are kept per run."""


class CapturedOutput:
    """Printed text that was not read yet."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._offset = 0
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Add text printed by Python code, which never reached a descriptor."""
        self._texts.append(text)

    def read(self) -> str:
        """The text printed since the last call."""
        text, self._texts = "".join(self._texts), []
        if self._file is None:
            return text
        content = os.pread(self._file.fileno(), MAX_READ, self._offset)
        self._offset += len(content)
        return text + content.decode(errors="replace")


def append_output(text: str, path: Path) -> None:
    """Append text to a run's console log, up to `MAX_LOG_SIZE`; if the disk refuses, only this text is lost."""
    with suppress(OSError):
        file = open_to_append(path)
        try:
            room = max(0, MAX_LOG_SIZE - os.fstat(file).st_size)
            write_all(file, text.encode(errors="replace")[:room])
        finally:
            os.close(file)


@contextmanager
def capture_output() -> Generator[CapturedOutput]:
    """Redirect descriptors 1 and 2 to a file, while the app draws on a duplicate of the terminal."""
    saved, terminal = (os.dup(1), os.dup(2)), os.dup(2)
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    with (
        tempfile.TemporaryFile() as printed,
        open(terminal, "w", encoding="utf-8", errors="replace", closefd=True) as screen,
    ):
        # Textual draws on __stderr__ and gets the size from __stdout__.
        sys.stdout = sys.stderr = screen
        sys.__stdout__ = sys.__stderr__ = screen  # pyright: ignore[reportAttributeAccessIssue]
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        try:
            yield CapturedOutput(printed)
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            sys.stdout, sys.stderr = streams[:2]
            sys.__stdout__, sys.__stderr__ = streams[2:]  # pyright: ignore[reportAttributeAccessIssue]
            for descriptor in saved:
                os.close(descriptor)
