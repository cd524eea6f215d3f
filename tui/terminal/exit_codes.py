"""Exit codes of a run."""

from __future__ import annotations

from ...core.events import RunCompleted, RunEvent, RunFailed

EXIT_CODES = {"input": 2, "busy": 3}


def run_exit_code(last: RunEvent | None, number: int | None) -> int:
    """What a run's last event means: 0 done, 1 failed, 2 wrong input, 3 busy, 128 + n where signal n stopped it."""
    if isinstance(last, RunFailed):
        return EXIT_CODES.get(last.error.kind, 1)
    # A run that goes on elsewhere is no failure, whatever made it go.
    if isinstance(last, RunCompleted) and last.status == "handed_over":
        return 0
    return 0 if number is None else 128 + number
