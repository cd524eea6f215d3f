"""How tests drive the app: read its screen, and let it work until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual._context import visible_screen_stack
from textual.app import App
from textual.pilot import Pilot

from torchdeck.tui.setup.field_row import FieldRow


def screen_text(app: App[Any]) -> str:
    """What the terminal shows, a line a row."""
    # A dialog shows the page below it only where it is told of it.
    visible_screen_stack.set(app._background_screens)  # pyright: ignore[reportPrivateUsage]
    strips = app.screen._compositor.render_strips()  # pyright: ignore[reportPrivateUsage]
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def until(pilot: Pilot[None], met: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the app work until a condition is met; fails with what the screen shows when it is not in time."""
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.04)


async def form_row(app: App[Any], pilot: Pilot[None], path: str) -> FieldRow:
    """The form's line of a setting, once it has its editor: the form is made after the first frame."""

    def found() -> list[FieldRow]:
        return [row for row in app.screen.query(FieldRow) if row.setting.path == path and row.children]

    await until(pilot, found)
    return found()[0]


class Lives:
    """Stands for a process that was started; it lives until a test gives it an exit code."""

    def __init__(self) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code
