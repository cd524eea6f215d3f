"""Lines of which only those are drawn again that say something new."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from textual.geometry import Region
from textual.strip import Strip

from .styled_parts import Inked


class ToldLines(Inked):
    """What a line tells is a value of any kind; a subclass writes it, in the inks of the moment."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._told: list[Any] = []

    def written(self, told: Any) -> Strip:
        """A line as it is drawn."""
        raise NotImplementedError  # pragma: no cover

    def tell(self, lines: Sequence[Any]) -> None:
        """Show these lines."""
        changed = [y for y, (new, old) in enumerate(zip_longest(lines, self._told)) if new != old]
        self._told = list(lines)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        return self.written(self._told[y]) if y < len(self._told) else self._inked(width=self.size.width)
