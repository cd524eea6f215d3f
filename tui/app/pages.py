"""The five pages of the app, each made when it is first shown, and the dialogs over them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..screens.page import Page
    from ..state.messages import Mode
    from ..state.refresh_rates import Refresh
    from ..state.workspace import Workspace
    from ..terminal.captured_output import CapturedOutput

PAGES: dict[Mode, tuple[str, str, str]] = {
    "setup": ("torchdeck.tui.setup.page", "SetupPage", "presets and settings"),
    "live": ("torchdeck.tui.live.page", "LivePage", "the training in hand"),
    "runs": ("torchdeck.tui.runs.page", "RunsPage", "all runs"),
    "compare": ("torchdeck.tui.compare.page", "ComparePage", "marked runs side by side"),
    "analyze": ("torchdeck.tui.analyze.page", "AnalyzePage", "what a network takes for what"),
}
"""Where each page is found, and what the palette says of it."""


def make_page(mode: Mode, workspace: Workspace, rates: Refresh, captured: CapturedOutput) -> Page:
    """A page, which is imported only here: charts and tables are slow to import."""
    module, name, _ = PAGES[mode]
    page = getattr(import_module(module), name)
    return page(workspace, rates, captured) if mode == "live" else page(workspace)
