"""Setup."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.page import Page


class SetupPage(Page):
    """Setup."""

    MODE = "setup"

    def body(self) -> ComposeResult:
        yield Static("setup")

    def reuse(self, preset: str, config: dict[str, Any]) -> None:
        pass
