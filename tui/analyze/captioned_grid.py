"""An image grid that says why it is empty."""

from __future__ import annotations

import textwrap

from rich.segment import Segment
from textual.content import Content
from textual.strip import Strip

from ..charts.half_blocks import shorten
from ..format.values import safe
from .image_grid import ImageGrid


class NotedGrid(ImageGrid):
    """Images, or a note in their place."""

    _note = ""
    _title: tuple[str, str] | None = None

    @property
    def note(self) -> str:
        """What it says in place of images; empty while it shows some."""
        return "" if self._images else self._note

    @property
    def shown(self) -> int:
        """How many images it holds, on all pages."""
        return len(self._images)

    def say(self, note: str) -> None:
        """Show a note in place of the images; any text may be in it."""
        self._note = safe(note)
        self.show([])

    def entitle(self, title: str, detail: str) -> None:
        """Set the title with a detail beside it, foreign text or not, cut where the frame is too narrow for both."""
        self._title = (title, detail)
        room = self.outer_size.width - len(title) - 7
        shown = shorten(detail, max(0, room), self.app.has_class("-ascii"))
        self.border_title = Content(title).append("  ").append(Content(shown)) if shown else Content(title)

    def on_resize(self) -> None:
        """Cut the title anew."""
        if self._title is not None:
            self.entitle(*self._title)

    def render_line(self, y: int) -> Strip:
        """One line of the page, or of the note."""
        if self._images:
            return super().render_line(y)
        lines = textwrap.wrap(self._note, max(1, self.size.width))
        text = shorten(lines[y], self.size.width, self.app.has_class("-ascii")) if y < len(lines) else ""
        return Strip([Segment(text, self.get_component_rich_style("image-grid--detail"))])
