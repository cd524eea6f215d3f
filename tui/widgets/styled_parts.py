"""A widget whose parts have inks of their own."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip

from .cached_render import Steady


class Inked(Steady):
    """Looks each ink up once: Textual forgets the styles of components whenever their widget is refreshed."""

    PARTS: ClassVar[str]
    """What the names of its component classes begin with."""

    def __init__(self, **options: Any) -> None:
        self._inks: dict[str, Style] = {}
        super().__init__(**options)

    def refresh(self, *regions: Region, **options: Any) -> Self:
        """As a whole, what is behind it may have changed as well."""
        if not regions:
            self._inks.pop("", None)
        return super().refresh(*regions, **options)

    def notify_style_update(self) -> None:
        """Look them up again: the theme may be another."""
        self._inks.clear()
        super().notify_style_update()

    def _ink(self, name: str) -> Style:
        """The style of a part, or with "" of the widget itself."""
        if name not in self._inks:
            named = f"{self.PARTS}--{name}"
            self._inks[name] = self.get_component_rich_style(named, partial=True) if name else self.rich_style
        return self._inks[name]

    def _strip(self, line: Text) -> Strip:
        """A line as wide as the widget; Textual's own way from a text to a strip takes five times as long."""
        base, width, line.end = self._ink(""), self.size.width, ""
        segments = Segment.apply_style(line.render(self.app.console), base)
        return Strip(segments).adjust_cell_length(width, base)

    def _inked(self, *parts: tuple[str, str], width: int) -> Strip:
        """Pieces of text, each with its ink, as a line of so many cells: less work than by way of a rich text."""
        base = self._ink("")
        segments = [Segment(text, base + self._ink(ink) if ink else base) for text, ink in parts if text]
        return Strip(segments).adjust_cell_length(width, base)
