"""The table of a comparison: a row per run, with its letter in the colour of its curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from ..summaries.run_comparison import Entry, Figures, fitted

INKS = 8


class DiffTable(DataTable[Text]):
    """Shows as many columns as fit; the best value of each is highlighted."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"diff-table--ink-{ink}" for ink in range(INKS)),
        "diff-table--best",
        "diff-table--quiet",
    }
    DEFAULT_CSS = """
    DiffTable { height: auto; max-height: 100%; background: $background; overflow-x: hidden; }
    DiffTable:focus { background-tint: $foreground 0%; }
    DiffTable > .datatable--header { background: $background; color: $quiet; text-style: none; }
    DiffTable > .datatable--cursor { background: $background; color: $foreground; }
    DiffTable:focus > .datatable--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    DiffTable > .datatable--hover { background: $field; }
    .diff-table--best { color: $success; text-style: bold; }
    .diff-table--quiet { color: $quiet; }
    .diff-table--ink-0 { color: $chart-0; text-style: bold; }
    .diff-table--ink-1 { color: $chart-1; text-style: bold; }
    .diff-table--ink-2 { color: $chart-2; text-style: bold; }
    .diff-table--ink-3 { color: $chart-3; text-style: bold; }
    .diff-table--ink-4 { color: $chart-4; text-style: bold; }
    .diff-table--ink-5 { color: $chart-5; text-style: bold; }
    .diff-table--ink-6 { color: $chart-6; text-style: bold; }
    .diff-table--ink-7 { color: $chart-7; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,enter", "hide", "Hide or show the selected run", show=False, id="compare.hide")
    ]

    class Hidden(Message):
        """The user asked to hide or show the selected run."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id, cursor_type="row", cell_padding=1, cursor_foreground_priority="renderable", zebra_stripes=False
        )
        self._entries: list[Entry] = []
        self._figures: list[Figures] = []
        self._drawn: object = None
        self.left_out = 0
        """The number of columns that do not fit."""

    def show(self, entries: Sequence[Entry], figures: Sequence[Figures]) -> None:
        """Show runs with these columns."""
        self._entries, self._figures = list(entries), list(figures)
        self._draw()

    def on_resize(self) -> None:
        """Choose the columns for the new width."""
        self._draw()

    def action_hide(self) -> None:
        """Hide or show the selected run."""
        if self._entries:
            self.post_message(self.Hidden(self.cursor_row))

    def _draw(self) -> None:
        if not self.size.width:
            return
        columns, self.left_out = fitted(self._figures, self.size.width)
        ink = self.get_component_rich_style("diff-table--ink-0", partial=True)
        hidden = [(entry.row.id, entry.hidden) for entry in self._entries]
        drawn = (columns, hidden, ink, self.app.has_class("-ascii"))
        if drawn == self._drawn:
            return
        self._drawn, line = drawn, self.cursor_row
        self.clear(columns=True)
        self.add_column("", width=1)
        for column in columns:
            self.add_column(Text(column.title, justify=_side(column)), width=column.width)
        for place, entry in enumerate(self._entries):
            self.add_row(*self._cells(place, entry, columns))
        self.move_cursor(row=min(line, len(self._entries) - 1))

    def _cells(self, place: int, entry: Entry, columns: Sequence[Figures]) -> list[Text]:
        quiet = self.get_component_rich_style("diff-table--quiet", partial=True)
        best = self.get_component_rich_style("diff-table--best", partial=True)
        ink = self.get_component_rich_style(f"diff-table--ink-{entry.place % INKS}", partial=True)
        cells = [Text("-" if entry.hidden else entry.letter, quiet if entry.hidden else ink)]
        for column in columns:
            style = quiet if entry.hidden else best if place in column.best else ""
            cells.append(Text(column.texts[place], style, justify=_side(column), no_wrap=True))
        return cells


def _side(column: Figures) -> Literal["left", "right"]:
    return "left" if column.title in ("run", "name") else "right"
