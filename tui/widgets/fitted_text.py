"""A scrollable text that is laid out for its width."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static


class FittedText(VerticalScroll):
    """Shows a text that depends on the width; it is made again only for another source or another width."""

    DEFAULT_CSS = """
    FittedText { scrollbar-gutter: stable; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._text = Static("", markup=False)
        self._shown: tuple[object, int] | None = None
        self._source: object = None
        self._write: Callable[[int], Text] | None = None

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, source: object, write: Callable[[int], Text]) -> None:
        """Show the text that `write` returns for a width in cells; `source` identifies its content."""
        self._source, self._write = source, write
        self._fit()

    def on_resize(self) -> None:
        """Lay the text out for the new width, which is known only after the first layout."""
        self._fit()

    def _fit(self) -> None:
        width = self.scrollable_content_region.width
        if self._write and width and self._shown != (self._source, width):
            self._shown = (self._source, width)
            self._text.update(self._write(width))
