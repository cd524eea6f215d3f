"""A table of all classes: precision, recall and F1, with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ...core.results.class_metrics import ClassFigures, Confusion, class_figures, macro
from ..charts.half_blocks import shorten
from ..format.values import safe
from .frame import framed

NAME_WIDTHS = (5, 16)
FIGURE_WIDTH = 8
MIN_BAR_WIDTH = 6
HEADS = ("prec", "recall", "F1")


class ClassTable(ScrollView):
    """A line per class; the header and the mean stay in place while the classes scroll."""

    SCOPED_CSS = False
    DEFAULT_CSS = (
        framed("ClassTable")
        + """
    ClassTable { scrollbar-size-vertical: 1; overflow-x: hidden; }
    ClassTable > .class-table--bar { color: $heat-hit; }
    ClassTable > .class-table--track { color: $chart-axis; }
    ClassTable > .class-table--label { color: $chart-label; }
    ClassTable > .class-table--chosen { color: $primary; text-style: bold; }
    ClassTable > .class-table--mean { text-style: bold; }
    ClassTable:ansi > .class-table--bar { color: ansi_blue; }
    ClassTable:ansi > .class-table--track { color: ansi_bright_black; }
    ClassTable:ansi > .class-table--label { color: ansi_default; }
    """
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "class-table--bar",
        "class-table--track",
        "class-table--label",
        "class-table--chosen",
        "class-table--mean",
    }
    BORDER_TITLE = "Per class"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._names: list[str] = []
        self._figures: list[ClassFigures] = []
        self._chosen: int | None = None

    def show(self, confusion: Confusion, class_names: Sequence[str]) -> None:
        """Show the metrics of a matrix of counts (rows are true classes)."""
        assert len(confusion) == len(class_names)
        self._names = [safe(name) for name in class_names]
        self._figures = class_figures(confusion)
        if self._chosen is not None and self._chosen >= len(self._names):
            self._chosen = None
        self.virtual_size = Size(0, len(self._names) + 2)
        self.refresh(layout=self.styles.auto_dimensions)

    def highlight(self, index: int) -> None:
        """Highlight one class and scroll it into view."""
        if not 0 <= index < len(self._names):
            return
        self._chosen = index
        rows, first = self._rows, round(self.scroll_y)
        if rows > 0 and not first <= index < first + rows:
            self.scroll_to(y=index if index < first else index - rows + 1, animate=False)
        self.refresh()

    def allow_focus(self) -> bool:
        """Only a table that scrolls can have the focus."""
        return super().allow_focus() and self.max_scroll_y > 0

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """A line per class, the header and the mean."""
        return len(self._names) + 2

    @property
    def _rows(self) -> int:
        return self.scrollable_content_region.height - 2

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")

    def render_line(self, y: int) -> Strip:
        """The header, a class or the mean."""
        if not self._names:
            return self._line("no predictions yet" if y == 0 else "", (), self._style("label"))
        if y == 0:
            return self._line("class", HEADS, self._style("label"))
        if y == min(self._rows, len(self._names)) + 1:
            return self._class_line("mean", macro(self._figures), self._style("mean"))
        index = round(self.scroll_y) + y - 1
        if index >= len(self._names):
            return Strip.blank(self.size.width, self.rich_style)
        style = self._style("chosen") if index == self._chosen else self.rich_style
        return self._class_line(self._names[index], self._figures[index], style)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"class-table--{name}")

    def _class_line(self, name: str, figures: ClassFigures, style: Style) -> Strip:
        texts = ["-" if value is None else f"{value:.3f}" for value in (figures.precision, figures.recall, figures.f1)]
        line = self._line(name, texts, style)
        room = self.scrollable_content_region.width - line.cell_length - 2 - self.show_vertical_scrollbar
        return line if room < MIN_BAR_WIDTH else Strip.join([line, self._bar(figures.f1 or 0.0, room)])

    def _line(self, name: str, figures: Sequence[str], style: Style) -> Strip:
        """A name and as many metrics as fit, the last ones first: F1 stays longest."""
        width = self.scrollable_content_region.width
        longest = max(map(cell_len, self._names), default=0) if figures else width
        fitting = max(0, min(len(figures), (width - NAME_WIDTHS[0]) // FIGURE_WIDTH))
        most = min(NAME_WIDTHS[1], width - fitting * FIGURE_WIDTH) if figures else width
        name_width = max(0, min(max(longest, NAME_WIDTHS[0]), most))
        text = shorten(name, name_width, self._ascii)
        text += " " * (name_width - cell_len(text))
        text += "".join(figure.rjust(FIGURE_WIDTH) for figure in figures[len(figures) - fitting :])
        return Strip([Segment(text, style)])

    def _bar(self, fraction: float, width: int) -> Strip:
        full, empty = ("#", "-") if self._ascii else ("━", "─")
        filled = round(fraction * width)
        return Strip(
            [
                Segment("  ", self.rich_style),
                Segment(full * filled, self._style("bar")),
                Segment(empty * (width - filled), self._style("track")),
            ]
        )
