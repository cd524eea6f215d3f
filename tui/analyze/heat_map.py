"""The confusion matrix as a heat map with a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ...core.results.class_metrics import Confusion, accuracy
from ..charts.half_blocks import (
    Rgb,
    blend,
    most_confused,
    readable_on,
    shares,
    short_count,
    shorten,
    tint_strengths,
    worst_pairs,
)
from ..format.values import count, percent, safe
from .frame import framed

MAX_CLASSES = 20
MAX_PAIRS = 20
CELL_WIDTHS = (3, 11)
CELL_HEIGHTS = (1, 5)
LABEL_WIDTHS = (6, 12)
STRONG_TINT = 0.5


class Plan(NamedTuple):
    """The layout in character cells: labels on the left, a header, then cells of equal size."""

    classes: int
    label_width: int
    header_lines: int
    cell_width: int
    cell_height: int

    @property
    def width(self) -> int:
        """The width of a line."""
        return self.label_width + 1 + self.classes * self.cell_width

    @property
    def height(self) -> int:
        """The lines of header and matrix."""
        return self.header_lines + self.classes * self.cell_height


def plan_for(classes: int, longest_name: int, space: Size) -> Plan:
    """Lay out as many classes as fit, in cells as large as possible, with a second header line if there is room."""
    count_wanted = max(0, min(classes, MAX_CLASSES, space.height - 1))
    spare = space.width - 1 - CELL_WIDTHS[0] * count_wanted
    min_label = LABEL_WIDTHS[0] if classes <= MAX_CLASSES else LABEL_WIDTHS[1]
    label_width = max(0, min(longest_name, LABEL_WIDTHS[1], max(spare, min_label), space.width - 4))
    room = space.width - label_width - 1
    shown = max(0, min(count_wanted, room // CELL_WIDTHS[0]))
    if not shown:
        return Plan(0, 0, 0, 0, 0)
    width = min(CELL_WIDTHS[1], room // shown)
    height = max(CELL_HEIGHTS[0], min(CELL_HEIGHTS[1], (space.height - 1) // shown, (width + 1) // 2))
    staggered = 1 < shown <= space.height - 2 and longest_name >= width and shown * height + 2 <= space.height
    return Plan(shown, label_width, 2 if staggered else 1, width, height)


class HeatMap(Widget, can_focus=True):
    """Correct predictions are blue, notable mistakes orange; every cell has its percentage or count."""

    SCOPED_CSS = False
    DEFAULT_CSS = (
        framed("HeatMap")
        + """
    HeatMap > .heat-map--hit { color: $heat-hit; }
    HeatMap > .heat-map--miss { color: $heat-miss; }
    HeatMap > .heat-map--label { color: $chart-label; }
    HeatMap > .heat-map--cursor { color: $background; background: $foreground; text-style: bold; }
    HeatMap > .heat-map--cursor-label { color: $primary; text-style: bold; }
    HeatMap:ansi > .heat-map--hit { color: ansi_bright_white; background: ansi_blue; }
    HeatMap:ansi > .heat-map--miss { color: ansi_yellow; }
    HeatMap:ansi > .heat-map--label { color: ansi_default; }
    HeatMap:ansi > .heat-map--cursor { color: ansi_default; background: ansi_default; text-style: bold reverse; }
    """
    )
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "heat-map--hit",
        "heat-map--miss",
        "heat-map--label",
        "heat-map--cursor",
        "heat-map--cursor-label",
    }
    BORDER_TITLE = "Confusion"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1, 0)", "Previous true class", show=False, id="heat-map.up"),
        Binding("down", "move(1, 0)", "Next true class", show=False, id="heat-map.down"),
        Binding("left", "move(0, -1)", "Previous predicted class", show=False, id="heat-map.left"),
        Binding("right", "move(0, 1)", "Next predicted class", show=False, id="heat-map.right"),
        Binding("n", "next_worst", "Next worst", id="heat-map.next-worst"),
        Binding("p", "toggle_percent", "Count/%", id="heat-map.percent"),
    ]

    class Moved(Message):
        """The cursor moved to another cell, or the matrix changed."""

        def __init__(self, heat_map: HeatMap, true_index: int, predicted_index: int) -> None:
            super().__init__()
            self.heat_map = heat_map
            self.true_index = true_index
            self.predicted_index = predicted_index

        @property
        def control(self) -> HeatMap:
            """The heat map that sent the message."""
            return self.heat_map

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._confusion: Confusion = ()
        self._names: list[str] = []
        self._shares = shares(())
        self._strengths = tint_strengths(())
        self._percent = True
        self._cursor = (0, 0)
        self._plan = Plan(0, 0, 0, 0, 0)
        self._order: list[int] = []
        self._first = (0, 0)

    def show(self, confusion: Confusion, class_names: Sequence[str]) -> None:
        """Show a matrix of counts (rows are true classes); for other classes, the cursor moves to the worst mistake."""
        assert len(confusion) == len(class_names)
        names = [safe(name) for name in class_names]
        kept = names == self._names
        self._confusion, self._names = confusion, names
        self._shares, self._strengths = shares(confusion), tint_strengths(confusion)
        if not kept:
            self._cursor = next(((true, predicted) for true, predicted, _ in worst_pairs(confusion, 1)), (0, 0))
        if self.is_attached:
            self._arrange()
        self.refresh(layout=self.styles.auto_dimensions)
        if names:
            self.post_message(self.Moved(self, *self._cursor))

    @property
    def cursor(self) -> tuple[int, int]:
        """The true and the predicted class under the cursor."""
        return self._cursor

    def sentence(self) -> str:
        """The selected cell in words, as plain text; "" without a matrix."""
        if not self._names:
            return ""
        true, predicted = self._cursor
        images = sum(self._confusion[true])
        if not images:
            return f"no images of {self._names[true]}"
        outcome = "predicted correctly" if true == predicted else f"predicted as {self._names[predicted]}"
        share = percent(float(self._shares[true, predicted]), 1)
        return f"{self._names[true]} {outcome}: {self._confusion[true][predicted]} of {images} ({share})"

    # Moving

    def action_move(self, down: int, right: int) -> None:
        """Move the cursor, within the matrix."""
        if not self._order:
            return
        last = len(self._order) - 1
        row, column = (self._order.index(index) for index in self._cursor)
        self._select(self._order[min(last, max(0, row + down))], self._order[min(last, max(0, column + right))])

    def action_next_worst(self) -> None:
        """Move to the most frequent mistake, or from there to the next one, in a circle."""
        pairs = [(true, predicted) for true, predicted, _ in worst_pairs(self._confusion, MAX_PAIRS)]
        if pairs:
            self._select(*pairs[(pairs.index(self._cursor) + 1) % len(pairs) if self._cursor in pairs else 0])

    def action_toggle_percent(self) -> None:
        """Toggle between percentages of a row and counts."""
        self._percent = not self._percent
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the cell under the mouse."""
        place = event.get_content_offset(self)
        if place is None or not self._plan.classes:
            return
        row = (place.y - self._plan.header_lines) // self._plan.cell_height
        column = (place.x - self._plan.label_width - 1) // self._plan.cell_width
        if 0 <= row < self._plan.classes and 0 <= column < self._plan.classes:
            self._select(self._order[self._first[0] + row], self._order[self._first[1] + column])

    def _select(self, true: int, predicted: int) -> None:
        if (true, predicted) == self._cursor:
            return
        self._cursor = (true, predicted)
        self._scroll()
        self.refresh()
        self.post_message(self.Moved(self, true, predicted))

    # Layout

    def on_resize(self) -> None:
        """Fit the cells to the new size."""
        self._arrange()

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        """The width that the matrix uses."""
        return self._planned(container).width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """The height that the matrix uses."""
        return self._planned(Size(width, container.height)).height

    def _planned(self, space: Size) -> Plan:
        return plan_for(len(self._names), max(map(cell_len, self._names), default=0), space)

    def _arrange(self) -> None:
        self._plan = self._planned(self.size)
        everything = self._plan.classes == len(self._names)
        classes = range(len(self._names))
        self._order = list(classes) if everything else most_confused(self._confusion, len(self._names))
        self._first = (0, 0)
        self._scroll()
        self.border_subtitle = self._subtitle()

    def _scroll(self) -> None:
        """Scroll the cursor's row and column into view."""
        if not self._order:
            return
        row, column = (self._order.index(index) for index in self._cursor)
        shown = self._plan.classes
        self._first = (
            max(row - shown + 1, min(self._first[0], row)),
            max(column - shown + 1, min(self._first[1], column)),
        )

    def _subtitle(self) -> str:
        """The longest text that fits: Textual would cut it with a non-ASCII character."""
        if not self._names:
            return ""
        reached = f"accuracy {percent(accuracy(self._confusion))}"
        part = f"{self._plan.classes} of {count(len(self._names))} classes"
        between = " - " if self._ascii else " · "
        if self._plan.classes < len(self._names):
            texts = [f"{reached}{between}{part}: the most confused", f"{part}: the most confused", part]
        else:
            texts = [f"{reached}{between}row = true, column = predicted", reached]
        return next((text for text in texts if len(text) <= self.size.width - 2), "")

    # Drawing

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")

    def render_line(self, y: int) -> Strip:
        """One line of the header or of a row of cells."""
        if not self._plan.classes:
            return self._no_matrix(y)
        if y < self._plan.header_lines:
            return self._header(y)
        row, line = divmod(y - self._plan.header_lines, self._plan.cell_height)
        if row >= self._plan.classes:
            return Strip.blank(self.size.width, self.rich_style)
        return self._row(self._order[self._first[0] + row], line)

    def _no_matrix(self, y: int) -> Strip:
        text = "no predictions yet" if y == 0 and not self._names else ""
        return Strip([Segment(text, self.get_component_rich_style("heat-map--label"))]).crop(0, self.size.width)

    def _shown_columns(self) -> list[int]:
        return self._order[self._first[1] : self._first[1] + self._plan.classes]

    def _header(self, y: int) -> Strip:
        """The names of the columns; two header lines have every second name each, at twice the width."""
        lines, width = self._plan.header_lines, self._plan.cell_width
        segments: list[Segment] = []
        end = 0
        for place, index in list(enumerate(self._shown_columns()))[y::lines]:
            name = shorten(self._names[index], lines * width - 1, self._ascii)
            start = self._plan.label_width + 1 + place * width + (width - cell_len(name)) // 2
            start = max(end and end + 1, min(start, self._plan.width - cell_len(name)))
            name = shorten(name, self._plan.width - start, self._ascii)
            segments += [Segment(" " * (start - end), self.rich_style), Segment(name, self._label_style(index, 1))]
            end = start + cell_len(name)
        return Strip(segments)

    def _row(self, true: int, line: int) -> Strip:
        middle = line == (self._plan.cell_height - 1) // 2
        name = shorten(self._names[true], self._plan.label_width, self._ascii) if middle else ""
        label = " " * (self._plan.label_width - cell_len(name)) + name + " "
        segments = [Segment(label, self._label_style(true, 0))]
        ground = self.background_colors[1].rgb
        for predicted in self._shown_columns():
            text = self._number(true, predicted) if middle else self._corners(true, predicted, line)
            before = (self._plan.cell_width - len(text) + 1 - self._plan.cell_width % 2) // 2
            padded = f"{' ' * before}{text}".ljust(self._plan.cell_width)
            segments.append(Segment(padded, self._cell_style(true, predicted, ground)))
        return Strip(segments)

    def _corners(self, true: int, predicted: int, line: int) -> str:
        """The corners of the selected cell, if the cells are large enough."""
        last = self._plan.cell_height - 1
        if (true, predicted) != self._cursor or last < 2 or line not in (0, last):
            return ""
        left, right = "++" if self._ascii else ("┌┐" if line == 0 else "└┘")
        return left + " " * (self._plan.cell_width - 2) + right

    def _number(self, true: int, predicted: int) -> str:
        images, share = self._confusion[true][predicted], float(self._shares[true, predicted])
        text = str(int(100 * share + 0.5)) if self._percent else short_count(images, self._plan.cell_width)
        if text == "0":
            text = "." if self._ascii else "·"
        in_brackets = (true, predicted) == self._cursor and len(text) + 2 <= self._plan.cell_width
        return f"[{text}]" if in_brackets else text

    def _label_style(self, index: int, axis: int) -> Style:
        name = "heat-map--cursor-label" if index == self._cursor[axis] else "heat-map--label"
        return self.get_component_rich_style(name)

    def _cell_style(self, true: int, predicted: int, ground: Rgb) -> Style:
        at_cursor = (true, predicted) == self._cursor
        strength = float(self._strengths[true, predicted])
        if self.app.no_color:
            return self.rich_style + Style(bold=at_cursor or true == predicted, reverse=at_cursor)
        if at_cursor and not strength:
            return self.get_component_rich_style("heat-map--cursor")
        if not strength:
            return self.get_component_rich_style("heat-map--label")
        name = "heat-map--hit" if true == predicted else "heat-map--miss"
        if self.app.native_ansi_color:
            strong_miss = true != predicted and strength >= STRONG_TINT
            return self.get_component_rich_style(name) + Style(bold=at_cursor, reverse=strong_miss)
        tint = blend(ground, self.get_component_styles(name).color.rgb, strength)
        return Style(color=Color.from_rgb(*readable_on(tint)), bgcolor=Color.from_rgb(*tint), bold=at_cursor)
