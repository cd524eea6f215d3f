"""A table that shows as many columns as fit; an update changes only cells that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from ..format.columns import TextColumn, fitted
from .styled_table import StyledTable


class TextTable(StyledTable):
    """Shows columns of texts; the cursor stays on its row as long as that exists."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open", id="table.enter"),
        Binding("home", "scroll_top", "First row", show=False, id="table.first"),
        Binding("end", "scroll_bottom", "Last row", show=False, id="table.last"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns: list[TextColumn] = []
        self._keys: list[str] = []
        self._drawn: tuple[list[tuple[str, int]], list[str], list[list[Text]]] = ([], [], [])

    @property
    def key(self) -> str | None:
        """The key of the selected row."""
        return self._keys[self.cursor_row] if 0 <= self.cursor_row < len(self._drawn[1]) else None

    @property
    def left_out(self) -> int:
        """The number of columns that do not fit."""
        return len(self._columns) - len(self._drawn[0])

    def show(self, keys: Sequence[str], columns: Sequence[TextColumn]) -> None:
        """Show columns; `keys` identify the rows."""
        self._keys, self._columns = list(keys), list(columns)
        self._draw()

    def go_to(self, key: str) -> None:
        """Move the cursor to a row."""
        if key in self._keys:
            self.move_cursor(row=self._keys.index(key))

    def on_resize(self) -> None:
        """Choose the columns for the new width."""
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not self.size.width or not self.is_attached:
            self.call_after_refresh(self._draw) if self.is_attached and self.display and self._keys else None
            return
        chosen = fitted(self._columns, self.size.width)
        form = [(column.title, width) for column, width in chosen]
        rows = [[column.cells[at] for column, _ in chosen] for at in range(len(self._keys))]
        if (form, self._keys) != self._drawn[:2]:
            self._build(chosen, rows)
        else:
            self._update(rows)
        self._drawn = (form, list(self._keys), rows)

    def _build(self, chosen: list[tuple[TextColumn, int]], rows: list[list[Text]]) -> None:
        """Fill the table again; the cursor returns to its row, or else to its line."""
        before, line = self._drawn[1], self.cursor_row
        key = before[line] if 0 <= line < len(before) else None
        with self.app.batch_update():
            self.clear(columns=True)
            for place, (column, width) in enumerate(chosen):
                title = Text(column.title, justify="right" if column.right else "left")
                self.add_column(title, width=width, key=str(place))
            for name, cells in zip(self._keys, rows, strict=True):
                self.add_row(*cells, key=name)
            self.move_cursor(row=self._keys.index(key) if key in self._keys else min(line, len(rows) - 1))

    def _update(self, rows: list[list[Text]]) -> None:
        for name, old, new in zip(self._keys, self._drawn[2], rows, strict=True):
            for place, (before, now) in enumerate(zip(old, new, strict=True)):
                if before != now or before.spans != now.spans or before.style != now.style:
                    self.update_cell(name, str(place), now)
