"""The app as a person drives it, on real training."""

from __future__ import annotations

import time
from pathlib import Path

import presets
from core.label import Label
from core.runs import RunIndex
from tui.app import Torchdeck
from tui.messages import Request, StartRequested
from tui.refresh import Refresh
from tui.state import State
from tui.workspace import Workspace


def make_app(tmp_path: Path) -> Torchdeck:
    logs = tmp_path / "logs"
    workspace = Workspace(logs, tmp_path / "data", State(), time.time, RunIndex(logs))
    return Torchdeck(workspace, refresh=Refresh(0.05, 0.05))


async def test_smoke(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        item = presets.load("quickstart")
        app.post_message(StartRequested([Request(item.with_overrides(["training.epochs=3"]), Label(item.name))]))
        for _ in range(300):
            await pilot.pause(0.1)
            if app.workspace.feed and app.workspace.feed.over:
                break
        await pilot.pause(0.3)
        app.save_screenshot("/tmp/x/live.svg")
        print("\n".join("".join(s.text for s in strip).rstrip() for strip in app.screen._compositor.render_strips()))
