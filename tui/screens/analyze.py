"""Analyze."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.page import Page


class AnalyzePage(Page):
    """Analyze."""

    MODE = "analyze"

    def body(self) -> ComposeResult:
        yield Static("analyze")
