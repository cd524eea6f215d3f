"""What a test calls to count the faults that it injects."""

from __future__ import annotations

from typing import Protocol


class Faults(Protocol):
    """Counts faults that a test injected, what they cost, and what fell over; the counts stand at the suite's end."""

    def __call__(self, kind: str, count: int = 1, *, lost: int = 0, crashes: int = 0) -> None: ...
