"""An image grid with a title and, while it is empty, a note."""

from __future__ import annotations

import textwrap

from rich.segment import Segment
from textual.content import Content
from textual.strip import Strip

from ..charts.half_blocks import shorten
from ..format.values import safe
from .image_grid import ImageGrid


class CaptionedGrid(ImageGrid):
    """Images, or a note in their place."""

    _note = ""
    _title: tuple[str, str] | None = None

    @property
    def note(self) -> str:
        """The note; empty while there are images."""
        return "" if self._images else self._note

    @property
    def shown(self) -> int:
        """The number of images on all pages."""
        return len(self._images)

    def show_note(self, note: str) -> None:
        """Show a note instead of images; untrusted text is made safe."""
        self._note = safe(note)
        self.show([])

    def set_title(self, title: str, detail: str) -> None:
        """Set the title, with a detail (which may be untrusted text) cut to the space beside it."""
        self._title = (title, detail)
        room = self.outer_size.width - len(title) - 7
        shown = shorten(detail, max(0, room), self.app.has_class("-ascii"))
        self.border_title = Content(title).append("  ").append(Content(shown)) if shown else Content(title)

    def on_resize(self) -> None:
        """Cut the title for the new width."""
        if self._title is not None:
            self.set_title(*self._title)

    def render_line(self, y: int) -> Strip:
        """One line of the page, or of the note."""
        if self._images:
            return super().render_line(y)
        lines = textwrap.wrap(self._note, max(1, self.size.width))
        text = shorten(lines[y], self.size.width, self.app.has_class("-ascii")) if y < len(lines) else ""
        return Strip([Segment(text, self.get_component_rich_style("image-grid--detail"))])
