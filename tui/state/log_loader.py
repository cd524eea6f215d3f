"""Logs so long that reading them would hold up the screen: each is read in a thread of its own, once."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from ...core.runs.layout import is_locked
from ...core.runs.reader import load_in_parts, write_caches
from ...core.runs.record import READING, RunRecord

LONG = 4 * 2**20
"""Bytes that are read in less time than anyone notices."""


@dataclass(slots=True)
class _Read:
    """One log on its way: how much of it is read, and the record in the end."""

    done: int
    total: int
    record: RunRecord | None = None


@dataclass(slots=True)
class LongLogs:
    """Reads short logs at once and long ones beside the screen, which asks again until they are there."""

    long: int = LONG
    _under_way: dict[Path, _Read] = field(default_factory=dict[Path, _Read])

    def record(self, folder: Path) -> RunRecord:
        """The record of a run; while its log is read, an empty one whose stage says how far that is."""
        read = self._under_way.get(folder)
        if read is None:
            steps = load_in_parts(folder)
            read = _Read(*next(steps, (0, 0)))
            if read.total - read.done <= self.long:
                _to_end(folder, steps, read)
                return read.record or RunRecord()
            self._under_way[folder] = read
            kept = {"keep": True}
            threading.Thread(target=_to_end, args=(folder, steps, read), kwargs=kept, name="log", daemon=True).start()
        if read.record is None:
            share = read.done / max(1, read.total)
            return RunRecord(status=READING, stage=f"reading its log: {share:.0%}")
        del self._under_way[folder]
        return read.record


def _to_end(
    folder: Path, steps: Generator[tuple[int, int], None, RunRecord], read: _Read, *, keep: bool = False
) -> None:
    """Read a log to its end; where its run is over, keep the caches that would have spared this, if asked."""
    record = RunRecord()
    try:
        while True:
            read.done, read.total = next(steps)
    except StopIteration as end:
        record = end.value
        if keep and record.ending is not None and is_locked(folder) is False:
            write_caches(folder, record, curves=True)
    finally:
        read.record = record
