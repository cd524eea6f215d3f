"""The accuracy of each class at the last evaluation whose confusion matrix was recorded, the lowest first."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import set_cell_size
from textual.strip import Strip

from ...core.runs.record import RunRecord
from ..format.bars import halves, shown_share
from ..format.values import percent, safe
from ..widgets.line_list import LineList

NAME, FIGURE = 16, 9


class ClassBar(NamedTuple):
    """One class: its name, the share of its images that are predicted right, and that as text."""

    name: str
    share: float
    text: str


class ClassBars(LineList):
    """A bar per class, as many as have room."""

    PARTS = "classes"
    COMPONENT_CLASSES = {"classes--bar", "classes--track", "classes--quiet"}  # noqa: RUF012
    DEFAULT_CSS = """
    ClassBars { border: round $frame; border-title-color: $foreground; border-title-style: bold; padding: 0 1; }
    .-ascii ClassBars { border: ascii $frame; }
    .classes--bar { color: $accent; }
    .classes--track { color: $track; }
    .classes--quiet { color: $quiet; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._record = RunRecord()
        self.border_title = "Accuracy of each class"

    def show(self, record: RunRecord) -> None:
        """Show the newest evaluation of a record."""
        self._record = record
        newest = max(record.confusions, default=None)
        if newest is None or record.started is None:
            self.border_subtitle = ""
            self.show_items([ClassBar("no evaluation yet", 0.0, "")])
            return
        names = record.started.class_names
        found = [
            (recall, safe(names[place]) if place < len(names) else f"class {place}")
            for place, recall in enumerate(recalls(record.confusions[newest].confusion))
        ]
        cells = self._cells()
        bars = [ClassBar(name, shown_share(recall, cells), percent(recall)) for recall, name in sorted(found)]
        self.border_subtitle = f"epoch {newest}"
        self.show_items(bars[: max(1, self.size.height)])

    def on_resize(self) -> None:
        """Adapt the bars and the number of classes."""
        self.show(self._record)

    def _cells(self) -> int:
        return max(0, self.size.width - NAME - FIGURE)

    def render_item(self, item: ClassBar) -> Strip:
        full, rest = halves(self._cells(), item.share, self._ascii)
        parts = (
            (set_cell_size(item.name, NAME), "quiet"),
            (full, "bar"),
            (rest, "track"),
            (item.text.rjust(FIGURE), ""),
        )
        return self._styled_line(*parts, width=self.size.width)


def recalls(confusion: tuple[tuple[int, ...], ...]) -> list[float]:
    """The share of each class's images that are predicted right; 0 for a class without images."""
    return [row[place] / max(1, sum(row)) if place < len(row) else 0.0 for place, row in enumerate(confusion)]
