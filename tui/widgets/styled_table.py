"""The base of the tables of runs and studies: a `DataTable` with a cursor on a row and its own cell styles."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.widgets import DataTable

from ..summaries.run_columns import INKS, Look


class StyledTable(DataTable[Text]):
    """A table with a cursor on a whole row."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"styled-table--{name}" for name in INKS}
    DEFAULT_CSS = """
    StyledTable { height: 1fr; background: $background; overflow-x: hidden; }
    StyledTable:focus { background-tint: $foreground 0%; }
    StyledTable > .datatable--header { background: $panel; color: $quiet; text-style: bold; }
    StyledTable > .datatable--cursor { background: $field; color: $foreground; }
    StyledTable:focus > .datatable--cursor {
        background: $block-cursor-background;
        color: $block-cursor-foreground;
        text-style: bold;
    }
    StyledTable > .datatable--hover { background: $field; }
    .styled-table--good { color: $success; }
    .styled-table--warn { color: $warning; }
    .styled-table--bad { color: $error; }
    .styled-table--accent { color: $accent; }
    .styled-table--bar { color: $chart-0; }
    .styled-table--track { color: $track; }
    .styled-table--quiet { color: $quiet; }
    .styled-table--strong { text-style: bold; }
    .styled-table--chart-0 { color: $chart-0; text-style: bold; }
    .styled-table--chart-1 { color: $chart-1; text-style: bold; }
    .styled-table--chart-2 { color: $chart-2; text-style: bold; }
    .styled-table--chart-3 { color: $chart-3; text-style: bold; }
    .styled-table--chart-4 { color: $chart-4; text-style: bold; }
    .styled-table--chart-5 { color: $chart-5; text-style: bold; }
    .styled-table--chart-6 { color: $chart-6; text-style: bold; }
    .styled-table--chart-7 { color: $chart-7; text-style: bold; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=1, zebra_stripes=False)

    def look(self, now: float, marked: frozenset[str] = frozenset()) -> Look:
        """The styles for making this table's cells."""
        inks: dict[str, Style] = {
            name: self.get_component_rich_style(f"styled-table--{name}", partial=True) for name in INKS
        }
        return Look(inks, self.app.has_class("-ascii"), now, marked)
