"""The table of a comparison: a row per run, with its letter in the colour of its curve."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from ..widgets.text_table import TextTable


class DiffTable(TextTable):
    """Shows as many columns as fit; a key hides the selected run's curve."""

    DEFAULT_CSS = """
    DiffTable { height: auto; max-height: 100%; }
    DiffTable > .datatable--header { background: $background; text-style: none; }
    DiffTable > .datatable--cursor { background: $background; }
    DiffTable > .styled-table--good { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,enter", "hide", "Hide or show the selected run", show=False, id="compare.hide")
    ]

    class Hidden(Message):
        """The user asked to hide or show the selected run."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def action_hide(self) -> None:
        """Hide or show the selected run."""
        if self.key is not None:
            self.post_message(self.Hidden(self.cursor_row))
