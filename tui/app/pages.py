"""The five pages of the app, each made when it is first shown, and the dialogs over them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..screens.page import Page
    from ..state.messages import Mode
    from ..state.refresh_rates import RefreshRates
    from ..state.workspace import Workspace

PAGES: dict[Mode, tuple[str, str, str]] = {
    "setup": ("torchdeck.tui.setup.page", "SetupPage", "presets and settings"),
    "live": ("torchdeck.tui.live.page", "LivePage", "the active run"),
    "runs": ("torchdeck.tui.runs.page", "RunsPage", "all runs"),
    "compare": ("torchdeck.tui.compare.page", "ComparePage", "marked runs side by side"),
    "analyze": ("torchdeck.tui.analyze.page", "AnalyzePage", "which classes a network confuses"),
}
"""Module, class and description (in the command palette) of each page."""


def make_page(mode: Mode, workspace: Workspace, rates: RefreshRates) -> Page:
    """Import and create a page: charts and tables are slow to import."""
    module, name, _ = PAGES[mode]
    page = getattr(import_module(module), name)
    return page(workspace, rates) if mode == "live" else page(workspace)
