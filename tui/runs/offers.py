"""Which actions of the Runs page would do something for the selected run."""

from __future__ import annotations

from ...core.runs.index import RunRow
from ..state.messages import RESUMABLE

ACTIVE = ("running", "paused")
ALWAYS = ("filter", "restore", "studies", "leave_filter")
OF_ANY_RUN = ("next_order", "reverse", "copy")


def offered(action: str, row: RunRow | None, runs: int) -> bool:
    """Whether an action applies to the selected run, of `runs` that are listed."""
    if row is None or action in ALWAYS:
        return action in ALWAYS
    match action:
        case "trash":
            return row.status not in ACTIVE
        case "compare":
            return runs > 1
        case "watch":
            return row.status in ACTIVE
        case "resume":
            return row.status in RESUMABLE
        case _:
            return action in OF_ANY_RUN or row.status != "unreadable"
