"""Toasts for a run's failure or end, shown over any page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.events import RunCompleted, RunEvent, RunFailed
from ..format.values import safe
from ..state.feed import Feed


@dataclass(frozen=True, slots=True)
class Toast:
    """A text that is safe to show, with its title, severity and duration."""

    text: str
    title: str
    severity: Literal["information", "error"] = "information"
    seconds: float = 5.0


def toast_of(event: RunEvent, feed: Feed) -> Toast | None:
    """The toast for a failure, or for the end of a run of this process; None for other events."""
    name = feed.record.started.run_id if feed.record.started else "the run"
    match event:
        case RunFailed():
            text = f"{event.error.message}\n{event.error.hint}".strip()
            return Toast(safe(text), safe(f"{name} failed"), "error", 20)
        case RunCompleted(status="handed_over"):
            return Toast(safe(f"{name} continues in a background process"), "handed over") if feed.own else None
        case RunCompleted() if feed.own:
            return Toast(safe(f"{name}: {event.reason}"), event.status)
        case _:
            return None
