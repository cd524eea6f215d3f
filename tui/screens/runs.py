"""Runs."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.page import Page


class RunsPage(Page):
    """Runs."""

    MODE = "runs"

    def body(self) -> ComposeResult:
        yield Static("runs")
