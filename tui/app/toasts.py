"""What of a run's events is worth a toast, whatever page is in view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.events import RunCompleted, RunEvent, RunFailed
from ..format.values import safe
from ..state.feed import Feed


@dataclass(frozen=True, slots=True)
class Toast:
    """A text that is safe to show, and how."""

    text: str
    title: str
    severity: Literal["information", "error"] = "information"
    seconds: float = 5.0


def toast_of(event: RunEvent, feed: Feed) -> Toast | None:
    """Of a failure, and of the end of a run of this process."""
    name = feed.record.started.run_id if feed.record.started else "the run"
    match event:
        case RunFailed():
            text = f"{event.error.message}\n{event.error.hint}".strip()
            return Toast(safe(text), safe(f"{name} failed"), "error", 20)
        case RunCompleted(status="handed_over"):
            return Toast(safe(f"{name} goes on in a process of its own"), "handed over") if feed.own else None
        case RunCompleted() if feed.own:
            return Toast(safe(f"{name}: {event.reason}"), event.status)
        case _:
            return None
