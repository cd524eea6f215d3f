"""The details of one run, in as much room as there is."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.widget import Widget


class RunDetail(Widget):
    """Draws what `write` gives for its width and height."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._write: Callable[[int, int], Text] | None = None

    def show(self, write: Callable[[int, int], Text] | None) -> None:
        """Take in what writes the details; None leaves the panel empty."""
        self._write = write
        self.refresh()

    def render(self) -> Text:
        if self._write is None or not self.size.width:
            return Text()
        return self._write(self.size.width, self.size.height)
