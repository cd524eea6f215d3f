"""The table of runs; rows and columns have keys, so that an update changes only cells that changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable
from textual.widgets.data_table import RowKey

from ...core.runs.index import RunRow
from ..summaries.run_columns import Column, Look, Order, age, fitting, title
from ..widgets.styled_table import StyledTable

Stamp = tuple[RunRow, bool, str]
"""What a row's cells depend on: the run, whether it is marked, its age."""


class RunTable(StyledTable):
    """Shows runs in the given order; the cursor stays on its run."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Analyze the run, or watch an active one", show=False, id="runs.enter"),
        Binding("home", "scroll_top", "First run", show=False, id="runs.first"),
        Binding("end", "scroll_bottom", "Last run", show=False, id="runs.last"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[RunRow] = []
        self._marked: Collection[str] = ()
        self._now = 0.0
        self._order = Order()
        self._fitted: list[tuple[Column, int]] = []
        self._shown: set[str] = set()
        self._kept: dict[str, tuple[Stamp, list[Text]]] = {}
        self._inks: Mapping[str, Style] = {}
        self._headed: Order | None = None

    @property
    def run_id(self) -> str | None:
        """The id of the selected run."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.ordered_rows[self.cursor_row].key.value

    @property
    def shown_columns(self) -> list[str]:
        """The keys of the columns that fit."""
        return [column.key for column, _ in self._fitted]

    def show(self, rows: Sequence[RunRow], marked: Collection[str], now: float, order: Order) -> None:
        """Update the table; rows that remain keep their place on the screen."""
        self._rows, self._marked, self._now, self._order = list(rows), marked, now, order
        if self._fitted:
            self._bring_up_to_date()
        else:
            # The width is not known before the page's first layout.
            self.call_after_refresh(self._fit)

    def go_to(self, run_id: str) -> None:
        """Move the cursor to a run."""
        if run_id in self._shown:
            self.move_cursor(row=self.get_row_index(run_id))

    def on_resize(self) -> None:
        """Choose the columns for the new width."""
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        if self.size.width and fitting(self.size.width, self._rows) != self._fitted:
            self._bring_up_to_date()

    def _update_dimensions(self, new_rows: Iterable[RowKey]) -> None:  # noqa: ARG002
        # Columns have fixed widths and rows one line: measuring each new cell would take a second for 1,000 runs.
        super()._update_dimensions(())

    def _bring_up_to_date(self) -> None:
        if not self.size.width or not self.is_attached:
            return
        look = self.look(self._now, frozenset(self._marked))
        fitted = fitting(self.size.width, self._rows)
        ids = [row.id for row in self._rows]
        if look.inks != self._inks:
            self._inks, self._kept = look.inks, {}
        if fitted != self._fitted or set(ids) != self._shown:
            self._build(fitted, look)
        else:
            self._refresh_cells(look)
            if [row.key.value for row in self.ordered_rows] != ids:
                self._sort(ids)
        self._head(look)

    def _build(self, fitted: list[tuple[Column, int]], look: Look) -> None:
        """Fill the table again; the cursor returns to its run, or else to its line."""
        run_id, line, top = self.run_id, self.cursor_row, self.scroll_y
        with self.prevent(DataTable.RowHighlighted), self.app.batch_update():
            if fitted != self._fitted:
                self.clear(columns=True)
                self._kept = {}
                for column, width in fitted:
                    self.add_column(title(column, self._order, look), width=width, key=column.key)
            else:
                self.clear()
            self._fitted = fitted
            for row in self._rows:
                self.add_row(*self._cells(row, look), key=row.id)
            self._shown = {row.id for row in self._rows}
            if run_id in self._shown:
                line = self.get_row_index(run_id)
            self.move_cursor(row=min(line, len(self._rows) - 1), scroll=False)
        self.call_after_refresh(self._settle, top)

    def _settle(self, top: float) -> None:
        """Scroll to where the table was, but keep the cursor visible."""
        self.scroll_to(y=top, animate=False)
        self._scroll_cursor_into_view()
        if self.row_count:
            self._highlight_row(self.cursor_row)

    def _cells(self, row: RunRow, look: Look) -> list[Text]:
        """A run's cells, made again only if they may have changed."""
        stamp, kept = _stamp(row, look), self._kept.get(row.id)
        if kept and _same(kept[0], stamp):
            return kept[1]
        cells = [column.cell(row, look) for column, _ in self._fitted]
        if kept:
            cells = [old if old == new else new for old, new in zip(kept[1], cells, strict=True)]
        self._kept[row.id] = (stamp, cells)
        return cells

    def _refresh_cells(self, look: Look) -> None:
        for row in self._rows:
            kept = self._kept.get(row.id)
            before = kept[1] if kept else []
            now = self._cells(row, look)
            for (column, _), cell, old in zip(self._fitted, now, before or now, strict=True):
                if cell is not old or not before:
                    self.update_cell(row.id, column.key, cell)

    def _sort(self, ids: list[str]) -> None:
        """Reorder the rows without building them again."""
        run_id = self.run_id
        # DataTable passes a cell to the sort key, not the row's key; each cell is a distinct object.
        places = {id(self._kept[run_id][1][0]): place for place, run_id in enumerate(ids)}
        with self.prevent(DataTable.RowHighlighted):
            self.sort(self._fitted[0][0].key, key=lambda cell: places[id(cell)])
            if run_id:
                self.go_to(run_id)

    def _head(self, look: Look) -> None:
        """Update the sort arrow in the header."""
        if self._headed == self._order:
            return
        self._headed = self._order
        for column, _ in self._fitted:
            self.columns[next(key for key in self.columns if key.value == column.key)].label = title(
                column, self._order, look
            )
        self._clear_caches()
        self.refresh()


def _stamp(row: RunRow, look: Look) -> Stamp:
    return row, row.id in look.marked, age(look.now - row.created)


def _same(one: Stamp, other: Stamp) -> bool:
    """Whether nothing has changed; a row that was not read again is the same object."""
    return one[0] is other[0] and one[1:] == other[1:]
