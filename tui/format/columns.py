"""Columns of a table of texts, and which of them fit a width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

PADDING = 2


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column with a cell per row; `rank` is the order in which columns get room, `max_width` its limit.

    A column that `grows` takes the remaining room.
    """

    key: str
    title: str
    cells: tuple[Text, ...]
    rank: int
    right: bool = False
    most: int = 24
    grows: bool = False

    @property
    def width(self) -> int:
        """The wanted width in cells."""
        return min(self.most, max(len(self.title), *(cell.cell_len for cell in self.cells), 1))


def fitted(columns: Sequence[TextColumn], width: int) -> list[tuple[TextColumn, int]]:
    """The columns that fit a width, in their order, with their widths."""
    room, chosen = width, dict[str, int]()
    for column in sorted(columns, key=lambda column: column.rank):
        if column.width + PADDING <= room or not chosen:
            chosen[column.key] = min(column.width, max(1, room - PADDING))
            room -= chosen[column.key] + PADDING
    for column in columns:
        if column.grows and column.key in chosen and room > 0:
            wanted = max(cell.cell_len for cell in column.cells) if column.cells else 0
            more = min(room, max(0, wanted - chosen[column.key]))
            chosen[column.key], room = chosen[column.key] + more, room - more
    return [(column, chosen[column.key]) for column in columns if column.key in chosen]
