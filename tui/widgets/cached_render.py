"""Widgets that cost nothing while they stay as they are."""

from __future__ import annotations

from typing import Any, Self

from textual.containers import Container, Horizontal
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class Steady(Widget):
    """Keeps what it drew until it is refreshed: for each frame, Textual puts together anew all that is in its way."""

    _drawn: tuple[Region, list[Strip]] | None = None

    def refresh(self, *regions: Region, **options: Any) -> Self:
        self._drawn = None
        return super().refresh(*regions, **options)

    def notify_style_update(self) -> None:
        """The look may be another."""
        self._drawn = None
        super().notify_style_update()

    def render_lines(self, crop: Region) -> list[Strip]:
        if self._drawn is None or self._drawn[0] != crop:
            self._drawn = (crop, super().render_lines(crop))
        return self._drawn[1]


# Textual takes the rules of the first base alone.
class Pane(Container, Steady):
    """A part of a page."""


class Row(Horizontal, Steady):
    """Parts of a page side by side."""
