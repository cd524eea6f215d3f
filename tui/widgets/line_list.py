"""A widget of lines that redraws only the lines whose content changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from textual.geometry import Region
from textual.strip import Strip

from .styled_parts import StyledParts


class LineList(StyledParts):
    """Each line is an item of any type; a subclass renders it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._items: list[Any] = []

    def render_item(self, item: Any) -> Strip:
        """An item as a line."""
        raise NotImplementedError  # pragma: no cover

    def show_items(self, items: Sequence[Any]) -> None:
        """Show these items; lines that did not change are not drawn again."""
        changed = [y for y, (new, old) in enumerate(zip_longest(items, self._items)) if new != old]
        self._items = list(items)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        return self.render_item(self._items[y]) if y < len(self._items) else self._styled_line(width=self.size.width)
