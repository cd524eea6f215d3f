"""Columns of tables, and which of them fit a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rich.text import Text

PADDING = 2


class Fitting(Protocol):
    """What decides whether a column fits: its rank among the columns, and its widths in cells."""

    @property
    def key(self) -> str:
        """Identifies the column."""
        ...

    @property
    def rank(self) -> int:
        """Columns of lower rank get room first."""
        ...

    @property
    def width(self) -> int:
        """The width that it needs."""
        ...

    @property
    def widest(self) -> int:
        """The width to which it grows where there is room."""
        ...


Fitted = TypeVar("Fitted", bound=Fitting)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column with a cell per row; `rank` is the order in which columns get room, `most` the limit of its width.

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
    def _content(self) -> int:
        return max(len(self.title), *(cell.cell_len for cell in self.cells), 1)

    @property
    def width(self) -> int:
        """The width of its title and cells, up to the limit."""
        return min(self.most, self._content)

    @property
    def widest(self) -> int:
        """The width of its title and cells if it grows."""
        return self._content if self.grows else self.width


def fitted(
    columns: Sequence[Fitted], width: int, reserve: Callable[[Fitted], int] = lambda _: 0
) -> list[tuple[Fitted, int]]:
    """The columns that fit a width, in their order, with their widths.

    A column is shown if `reserve` cells are left beside it; what is left in the end widens columns, by rank.
    """
    room, chosen = width, dict[str, int]()
    ranked = sorted(columns, key=lambda column: column.rank)
    for column in ranked:
        if column.width + PADDING <= room - reserve(column) or not chosen:
            chosen[column.key] = min(column.width, max(1, room - PADDING))
            room -= chosen[column.key] + PADDING
    for column in ranked:
        if column.key in chosen and (more := min(room, column.widest - chosen[column.key])) > 0:
            chosen[column.key], room = chosen[column.key] + more, room - more
    return [(column, chosen[column.key]) for column in columns if column.key in chosen]
