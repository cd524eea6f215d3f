"""A panel with the details of one run, made for its size."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.widget import Widget


class RunDetail(Widget):
    """Shows the text that `write` returns for its width and height."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._write: Callable[[int, int], Text] | None = None

    def show(self, write: Callable[[int, int], Text] | None) -> None:
        """Set the function that makes the details; None empties the panel."""
        self._write = write
        self.refresh()

    def render(self) -> Text:
        if self._write is None or not self.size.width:
            return Text()
        return self._write(self.size.width, self.size.height)
