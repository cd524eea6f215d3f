"""A widget whose parts have inks of their own."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip
from textual.widget import Widget


class Inked(Widget):
    """Looks each ink up once: Textual forgets the styles of components whenever their widget is refreshed."""

    PARTS: ClassVar[str]
    """What the names of its component classes begin with."""

    def __init__(self, **options: Any) -> None:
        self._inks: dict[str, Style] = {}
        super().__init__(**options)

    def notify_style_update(self) -> None:
        """Look them up again: the theme may be another."""
        self._inks.clear()
        super().notify_style_update()

    def _ink(self, name: str) -> Style:
        if name not in self._inks:
            self._inks[name] = self.get_component_rich_style(f"{self.PARTS}--{name}", partial=True)
        return self._inks[name]

    def _strip(self, line: Text) -> Strip:
        """A line as wide as the widget; Textual's own way from a text to a strip takes five times as long."""
        base, width, line.end = self.rich_style, self.size.width, ""
        segments = Segment.apply_style(line.render(self.app.console), base)
        return Strip(segments).adjust_cell_length(width, base)
