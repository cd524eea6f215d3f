"""Load run records from logs; long logs are read in a background thread, so that the screen does not freeze."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ...core.runs.layout import is_locked
from ...core.runs.reader import load_in_parts, write_caches
from ...core.runs.record import READING, RunRecord

SYNC_BYTES = 4 * 2**20
"""Bytes that are read without a noticeable delay."""


@dataclass(slots=True)
class _Reading:
    """A log being read: bytes done, bytes in total, and the record at the end."""

    done: int
    total: int
    record: RunRecord | None = None


@dataclass(slots=True)
class LogLoader:
    """Reads short logs immediately and long ones in a thread; the screen asks again until their records are there."""

    sync_bytes: int = SYNC_BYTES
    _reading: dict[Path, _Reading] = field(default_factory=dict[Path, _Reading])

    def record(self, folder: Path) -> RunRecord:
        """The record of a run; while its log is being read, an empty one whose stage is the progress of that."""
        read = self._reading.get(folder)
        if read is None:
            steps = load_in_parts(folder)
            read = _Reading(*next(steps, (0, 0)))
            if read.total - read.done <= self.sync_bytes:
                _read_all(folder, steps, read)
                return read.record or RunRecord()
            self._reading[folder] = read
            work = partial(_read_all, folder, steps, read, write_cache=True)
            threading.Thread(target=work, name="log", daemon=True).start()
        if read.record is None:
            share = read.done / max(1, read.total)
            return RunRecord(status=READING, stage=f"reading its log: {share:.0%}")
        del self._reading[folder]
        return read.record


def _read_all(
    folder: Path, steps: Generator[tuple[int, int], None, RunRecord], read: _Reading, *, write_cache: bool = False
) -> None:
    """Read a log to its end; with `write_cache`, and if its run has ended, write the caches that make this fast."""
    record = RunRecord()
    try:
        while True:
            read.done, read.total = next(steps)
    except StopIteration as end:
        record = end.value
        if write_cache and record.ending is not None and is_locked(folder) is False:
            write_caches(folder, record, curves=True)
    finally:
        read.record = record
