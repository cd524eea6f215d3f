"""Widgets that cache their rendered lines, so that unchanged ones cost nothing in a frame."""

from __future__ import annotations

from typing import Any, Self

from textual.containers import Container, Horizontal
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class CachedRender(Widget):
    """Caches its lines until it is refreshed; Textual composes all overlapping widgets again for each frame."""

    _drawn: tuple[Region, list[Strip]] | None = None

    def refresh(self, *regions: Region, **options: Any) -> Self:
        self._drawn = None
        return super().refresh(*regions, **options)

    def notify_style_update(self) -> None:
        """Drop the cache: colours may have changed."""
        self._drawn = None
        super().notify_style_update()

    def render_lines(self, crop: Region) -> list[Strip]:
        if self._drawn is None or self._drawn[0] != crop:
            self._drawn = (crop, super().render_lines(crop))
        return self._drawn[1]


# Container comes first: Textual inherits the CSS of the first base only.
class Pane(Container, CachedRender):
    """A part of a page, its children below one another."""


class Row(Horizontal, CachedRender):
    """A part of a page, its children side by side."""
