"""A widget that draws styled lines from its component classes, with the styles cached."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip

from .cached_render import CachedRender


class StyledParts(CachedRender):
    """Looks each component style ("ink") up once; Textual would do so after every refresh of the widget."""

    PARTS: ClassVar[str]
    """The prefix of its component classes: `PARTS--quiet` is the ink "quiet"."""

    def __init__(self, **options: Any) -> None:
        self._inks: dict[str, Style] = {}
        super().__init__(**options)

    def refresh(self, *regions: Region, **options: Any) -> Self:
        """Refresh regions, or the whole widget, whose background may have changed as well."""
        if not regions:
            self._inks.pop("", None)
        return super().refresh(*regions, **options)

    def notify_style_update(self) -> None:
        """Drop the cached styles: the theme may have changed."""
        self._inks.clear()
        super().notify_style_update()

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")

    def _ink(self, name: str) -> Style:
        """The style of a part, or for "" that of the widget itself."""
        if name not in self._inks:
            named = f"{self.PARTS}--{name}"
            self._inks[name] = self.get_component_rich_style(named, partial=True) if name else self.rich_style
        return self._inks[name]

    def _strip(self, line: Text) -> Strip:
        """A rich text as a line of the widget's width; five times as fast as Textual's own conversion."""
        base, width, line.end = self._ink(""), self.size.width, ""
        segments = Segment.apply_style(line.render(self.app.console), base)
        return Strip(segments).adjust_cell_length(width, base)

    def _styled_line(self, *parts: tuple[str, str], width: int) -> Strip:
        """Pieces of text, each with the name of its ink, as a line of `width` cells; faster than by a rich text."""
        base = self._ink("")
        segments = [Segment(text, base + self._ink(ink) if ink else base) for text, ink in parts if text]
        return Strip(segments).adjust_cell_length(width, base)
