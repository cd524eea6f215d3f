"""The exit code of a process that trained a run."""

from __future__ import annotations

from ...core.events import RunCompleted, RunEvent, RunFailed

EXIT_CODES = {"input": 2, "busy": 3}


def run_exit_code(last: RunEvent | None, number: int | None) -> int:
    """Exit code for a run's last event: 0 done, 1 failed, 2 wrong input, 3 busy, 128 + n if signal n stopped it."""
    if isinstance(last, RunFailed):
        return EXIT_CODES.get(last.error.kind, 1)
    # A run that another process continues has not failed, whatever caused the handover.
    if isinstance(last, RunCompleted) and last.status == "handed_over":
        return 0
    return 0 if number is None else 128 + number
