"""The five pages of the app, each made when it is first shown, and the dialogs over them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.console import Console
    from tui.messages import Mode
    from tui.refresh import Refresh
    from tui.screens.page import Page
    from tui.workspace import Workspace

PAGES: dict[Mode, tuple[str, str, str]] = {
    "setup": ("tui.screens.setup", "SetupPage", "presets and settings"),
    "live": ("tui.screens.live", "LivePage", "the training in hand"),
    "runs": ("tui.screens.runs", "RunsPage", "all runs"),
    "compare": ("tui.screens.compare", "ComparePage", "marked runs side by side"),
    "analyze": ("tui.screens.analyze", "AnalyzePage", "what a network takes for what"),
}
"""Where each page is found, and what the palette says of it."""


def make_page(mode: Mode, workspace: Workspace, rates: Refresh, console: Console) -> Page:
    """A page, which is imported only here: charts and tables are slow to import."""
    module, name, _ = PAGES[mode]
    page = getattr(import_module(module), name)
    return page(workspace, rates, console) if mode == "live" else page(workspace)
