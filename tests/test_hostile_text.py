"""Text from files reaches no screen as markup or as control bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from app_driver import screen_text, until
from example_runs import make_hostile_run
from textual.app import App

from core.housekeeping import write_notes
from core.logs import EventReader
from tui.app import Torchdeck
from tui.feed import Feed
from tui.text import safe

NOW = 1_800_000_000.0
PIECES = ("[", "]", "/", "\\", "red", "b", "=", "@click", "(", ")", "\x1b", "\x07", "\x00", "\n", "'", '"', "\u202e")
RANDOM = "".join(random.Random(7).choices(PIECES, k=40))
TEXTS = [
    "[red]x[/red]",
    "[/]",
    "[@click=app.quit]go[/]",
    "\x1b[31mred\x1b]52;c;aGk=\x07",
    "a\rb\nc\t\x9bd\u202e",
    RANDOM,
]


def control_bytes(app: App[None]) -> set[str]:
    """Signs on the screen that could do something to a terminal."""
    return {sign for sign in screen_text(app) if sign != "\n" and safe(sign) != sign}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text))
async def test_no_page_takes_text_from_a_file_for_more_than_text(
    make_app: Callable[..., Torchdeck], tmp_path: Path, text: str
) -> None:
    logs = tmp_path / "logs"
    told = text.encode("utf-8", "replace").decode()
    make_hostile_run(logs, NOW, told)
    (folder,) = logs.iterdir()
    write_notes(folder, [told, "kept"], told)
    app = make_app(logs)
    async with app.run_test(size=(160, 50), notifications=True) as pilot:
        app.workspace.marked[:] = [folder.name]
        app.workspace.chosen = folder.name
        app.workspace.feed = Feed(lambda: EventReader(folder).read(), lambda *_: None, own=False)
        app.workspace.feed.iterate()
        for page in ("live", "runs", "compare", "analyze", "setup"):
            app.action_show(page)  # type: ignore[arg-type]
            await until(pilot, lambda page=page: app.current_mode == page)
            await pilot.pause(0.05)
            assert control_bytes(app) == set()
        assert app.is_running
