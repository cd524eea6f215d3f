"""Compare."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.page import Page


class ComparePage(Page):
    """Compare."""

    MODE = "compare"

    def body(self) -> ComposeResult:
        yield Static("compare")
