"""The files of a study: study.json, written once, declares it; changes.jsonl records what became of its runs.

Each line of changes.jsonl is one change, with its CRC-32. Only the process that holds the study's lock writes it, so an
incomplete last line is from a process that died.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from ..runs.line_format import MAX_LINE_BYTES, seal, unseal
from ..utils.files import DISK, Disk, open_regular, open_to_append, read_json, write_all

DECLARED = "study.json"
CHANGES = "changes.jsonl"
Json = dict[str, Any]


class Changes:
    """Reads changes.jsonl from where the last reading ended, and appends to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / CHANGES
        self._offset = 0

    def read(self) -> Iterator[Json]:
        """The changes in complete lines since the last call; damaged lines are skipped."""
        try:
            file = os.fdopen(open_regular(self.path), "rb")
        except OSError:
            return
        with file:
            file.seek(self._offset)
            while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
                self._offset += len(line)
                try:
                    yield unseal(line[:-1])
                except (ValueError, RecursionError):
                    continue

    def repair(self) -> None:
        """Cut off an incomplete last line, so that the next is not appended to it; requires the study's lock."""
        try:
            file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "r+b")
        except OSError:
            return
        with file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            if file.read(1) in (b"", b"\n"):
                return
            file.seek(max(0, end - MAX_LINE_BYTES))
            tail = file.read()
            file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)

    def write(self, change: Mapping[str, Any], disk: Disk = DISK) -> None:
        """Append a change and sync it to disk; requires the study's lock, with all earlier changes read.

        Raises:
            OSError: it cannot be written.
        """
        line = seal(dict(change)) + b"\n"
        file = open_to_append(self.path, disk)
        try:
            write_all(file, line, disk)
            disk.sync(file)
        finally:
            disk.close(file)
        self._offset += len(line)


def apply_change(content: Json, change: Mapping[str, Any]) -> int | None:
    """Apply a change to the content of study.json; returns the number of the run that it concerns, if any.

    A change holds keys of the search, or of one run, which may be new.
    """
    search, run = change.get("search"), change.get("run")
    if isinstance(search, dict) and isinstance(content.get("search"), dict):
        content["search"] = {**content["search"], **search}
    if not isinstance(run, dict) or not isinstance(content.get("runs"), list):
        return None
    runs, number = cast("list[Any]", content["runs"]), cast("Json", run).get("number")
    if not isinstance(number, int) or not 0 <= number <= len(runs):
        return None
    known = runs[number] if number < len(runs) else {}
    runs[number : number + 1] = [{**known, **run} if isinstance(known, dict) else run]
    return number


def read_content(folder: Path) -> Any:
    """The content of study.json with all changes applied, in JSON's types; None where it is missing or damaged."""
    content = read_json(folder / DECLARED)
    if isinstance(content, dict):
        for change in Changes(folder).read():
            apply_change(cast("Json", content), change)
    return content
