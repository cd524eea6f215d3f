"""Draws the README's pictures of the app from the reference runs, as SVG.

Usage: python docs/pictures.py [DATA]
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

from textual.pilot import Pilot

from torchdeck.core.runs.index import RunIndex
from torchdeck.core.runs.reader import EventReader
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.state.feed import Feed
from torchdeck.tui.state.preferences import Preferences
from torchdeck.tui.state.refresh_rates import RefreshRates
from torchdeck.tui.state.workspace import Workspace

ROOT = Path(__file__).parent.parent
LOGS, PICTURES = ROOT / "logs" / "reference", ROOT / "docs" / "pictures"
SIZE = (120, 40)


def opened(data: Path) -> Torchdeck:
    """The app on the reference runs."""
    workspace = Workspace(LOGS, data, Preferences(), time.time, RunIndex(LOGS))
    return Torchdeck(workspace, refresh=RefreshRates(0.1, 0.1))


def run_of(app: Torchdeck, preset: str, seed: int = 1) -> str:
    """The id of a preset's run with a seed."""
    rows = [row for row in app.workspace.rows() if row.preset == preset]
    return next(row.id for row in rows if row.header["config"]["training"]["seed"] == seed)


async def save(app: Torchdeck, pilot: Pilot[None], name: str, seconds: float = 1.5) -> None:
    """Save what is shown once it has settled; fonts are the reader's own."""
    await pilot.pause(seconds)
    svg = re.sub(r"@font-face\s*{[^}]*}", "", app.export_screenshot(title="torchdeck"))
    svg = svg.replace("Fira Code", "ui-monospace, DejaVu Sans Mono")
    (PICTURES / f"{name}.svg").write_text(
        "\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8"
    )


async def draw(data: Path) -> None:
    """Draw the live, compare and analyze pages."""
    app = opened(data)
    async with app.run_test(size=SIZE) as pilot:
        lenet = run_of(app, "lenet")
        events = list(EventReader(LOGS / lenet).read())
        half = events[: len(events) * 2 // 5]
        app.workspace.feed = Feed(lambda: iter(half), lambda *_: None, own=False)
        app.workspace.feed.iterate()
        await pilot.press("2")
        await save(app, pilot, "live")
        app.workspace.marked[:] = [run_of(app, name) for name in ("lenet", "lenet-l2", "lenet-dropout", "basic-cnn")]
        await pilot.press("4")
        await save(app, pilot, "compare")
        app.workspace.chosen = run_of(app, "basic-cnn")
        await pilot.press("5")
        await save(app, pilot, "analyze", 3.0)


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    asyncio.run(draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "data"))
