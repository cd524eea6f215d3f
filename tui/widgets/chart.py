"""A line chart in a titled panel, with a cursor that reads values."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.content import Content
from textual.strip import Strip
from textual.style import Style
from textual.timer import Timer
from textual.widget import Widget

from ..charts.canvas import Cell
from ..charts.cursor import step_cursor, values_at
from ..charts.drawing import INKS, Drawing, Line, Rule, View, curve_of, draw, extent, lettered, message
from ..charts.line_copies import copy_line
from ..charts.points import Memo
from ..format.values import figure, safe

SMOOTHINGS = (0.0, 0.6, 0.9, 0.98)
TINT = 0.3
PLAIN = str.maketrans({"·": "-", "–": "-", "—": "-", "…": "...", "×": "x", "✗": "x", "✓": "v", "●": "o"})
REST_FACTOR = 15  # a chart waits at least 15 times its last drawing time, so that it uses at most 1/15 of a core


class Chart(Widget, can_focus=True):
    """Lines over x; `show` may be called with every new value, the chart limits how often it draws."""

    DEFAULT_CSS = """
    Chart {
        border: round $panel;
        border-title-color: $foreground;
        border-subtitle-color: $chart-label;
        &:focus { border: round $accent; }
        .chart--axis, .chart--dim { color: $chart-axis; }
        .chart--label { color: $chart-label; }
        .chart--rule { color: $chart-rule; }
        .chart--cursor { color: $foreground; }
        .chart--series-0 { color: $chart-0; }
        .chart--series-1 { color: $chart-1; }
        .chart--series-2 { color: $chart-2; }
        .chart--series-3 { color: $chart-3; }
        .chart--series-4 { color: $chart-4; }
        .chart--series-5 { color: $chart-5; }
        .chart--series-6 { color: $chart-6; }
        .chart--series-7 { color: $chart-7; }
        &:ansi {
            border: round ansi_bright_black;
            border-title-color: ansi_default;
            border-subtitle-color: ansi_default;
            .chart--axis, .chart--label, .chart--dim { color: ansi_bright_black; }
            .chart--rule { color: ansi_yellow; }
            .chart--cursor { color: ansi_default; }
            .chart--series-0 { color: ansi_bright_blue; }
            .chart--series-1 { color: ansi_yellow; }
            .chart--series-2 { color: ansi_green; }
            .chart--series-3 { color: ansi_bright_magenta; }
            .chart--series-4 { color: ansi_red; }
            .chart--series-5 { color: ansi_magenta; }
            .chart--series-6 { color: ansi_cyan; }
            .chart--series-7 { color: ansi_bright_black; }
        }
        &:ansi:focus { border: round ansi_bright_blue; }
    }
    .-ascii Chart { border: ascii $panel; }
    .-ascii Chart:focus { border: ascii $accent; }
    """
    # The app's class "-ascii" is outside the scope of a scoped rule.
    SCOPED_CSS: ClassVar[bool] = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"chart--{part}" for part in ("axis", "label", "rule", "cursor", "dim")),
        *(f"chart--series-{index}" for index in range(8)),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "read(-1)", "Cursor", key_display="←→", id="chart.left"),
        Binding("right", "read(1)", "Cursor right", show=False, id="chart.right"),
        Binding("shift+left", "read(-10)", "Cursor ten columns left", show=False, id="chart.far_left"),
        Binding("shift+right", "read(10)", "Cursor ten columns right", show=False, id="chart.far_right"),
        Binding("escape", "stop_reading", "Remove the cursor", show=False, id="chart.stop_reading"),
        Binding("y", "log", "Log", id="chart.log"),
        Binding("s", "smooth", "Smooth", id="chart.smooth"),
        Binding("z", "zoom", "Zoom", id="chart.zoom"),
        Binding("plus", "magnify(1)", "Zoom in x", show=False, id="chart.magnify"),
        Binding("minus", "magnify(-1)", "Zoom out x", show=False, id="chart.reduce"),
        Binding("0", "whole", "Full x range", show=False, id="chart.whole"),
    ]

    def __init__(
        self,
        title: str,
        *,
        percent: bool = False,
        clock: Callable[[], float] = time.monotonic,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.title = title
        self.percent = percent
        self.redraw_every = 1.0
        self.log_axis = False
        self.smoothing = 0.6
        self.cursor: float | None = None
        self.drawing = Drawing([])
        self.draws = 0
        self._clock = clock
        self._lines: list[Line] = []
        self._rules: list[Rule] = []
        self._x_unit = "step"
        self._note = ""
        self._magnified = 0
        self._center: float | None = None
        self._partners: Sequence[Chart] = ()
        self._failure: Exception | None = None
        self._memo = Memo()
        self._styles: dict[str, RichStyle] = {}
        self._stale = True
        self._timer: Timer | None = None
        self._drawn_at = -float("inf")
        self._draw_time = 0.0

    def show(self, lines: Sequence[Line], rules: Sequence[Rule] = (), *, x_unit: str = "step", note: str = "") -> None:
        """Set the data; it is copied, and drawn soon if it differs from what is shown."""
        if note != self._note:
            self._note = note
            self._write_subtitle()
        try:
            before = [*self._lines, *(None for _ in lines)]
            copies = [copy_line(line, earlier) for line, earlier in zip(lines, before, strict=False)]
            self._failure = None
        except Exception as error:  # noqa: BLE001 - shown in place of the chart
            copies, self._failure = [], error
        same = len(copies) == len(self._lines) and all(a is b for a, b in zip(copies, self._lines, strict=True))
        if same and not self._failure and list(rules) == self._rules and x_unit == self._x_unit:
            return
        self._lines, self._rules, self._x_unit = copies, list(rules), x_unit
        self._draw_when_due()

    def share_x(self, *partners: Chart) -> None:
        """Show the same range of x as these charts, and magnify it together."""
        self._partners = partners

    def set_title(self, title: str, *, percent: bool = False) -> None:
        """Change the title and the unit of y."""
        self.title, self.percent = title, percent
        if self.is_attached:
            self._draw_now()

    def _draw_when_due(self) -> None:
        """Draw now, or set a timer."""
        if self._timer is not None or not self.is_attached:
            return
        wait = self._drawn_at + max(self.redraw_every, REST_FACTOR * self._draw_time) - self._clock()
        if wait <= 0:
            self._draw_now()
        else:
            self._timer = self.set_timer(wait, self._draw_now, name="chart")

    @property
    def waiting(self) -> bool:
        """Whether a timer is set to draw newer data than shown."""
        return self._timer is not None

    def _draw_now(self) -> None:
        """Mark the drawing as stale, and update the titles."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self._stale = True
        self._styles.clear()
        self._write_title()
        self._write_subtitle()
        self.refresh()

    def on_mount(self) -> None:
        """Subscribe to theme changes: from here on the app is known."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw_now())
        self._draw_now()

    def notify_style_update(self) -> None:
        """Drop the cached colours."""
        self._styles.clear()
        super().notify_style_update()

    @property
    def plain(self) -> bool:
        """Whether to draw in ASCII only."""
        return self.app.has_class("-ascii")

    @property
    def view(self) -> View:
        """The current size, scales and terminal capabilities."""
        width, height = self.content_size
        tints = not (self.app.no_color or self.app.native_ansi_color)
        view = View(width, height, self.percent, self.log_axis, self.smoothing, None, self._x_unit, self.plain, tints)
        return replace(view, x_range=self._x_range(view)) if self._magnified or self._partners else view

    @property
    def lines(self) -> list[Line]:
        """The lines, with letters to tell them apart if there are no colours."""
        return lettered(self._lines) if self.app.no_color else self._lines

    def _x_range(self, view: View) -> tuple[float, float] | None:
        """The range of x that this chart and its partners cover; magnified around the cursor, else at the right end."""
        shared = [line for chart in (self, *self._partners) if chart.display for line in chart._lines]
        curves = [curve_of(line, view, self._memo) for line in shared]
        curves = [curve for curve in curves if curve.shown.xs.size]
        if not curves:
            return None
        low, high = extent(curves)
        span = (high - low) / 2**self._magnified
        start = high - span if self._center is None else self._center - span / 2
        start = min(max(low, start), high - span)
        return start, start + span

    def render_line(self, y: int) -> Strip:
        """One row of the drawing, which is updated first if it is stale."""
        size = self.content_size
        if self._stale or (len(self.drawing.rows), len((self.drawing.rows or [[]])[0])) != (size.height, size.width):
            self._build()
        if y >= len(self.drawing.rows):
            return Strip.blank(size.width)
        row = self.drawing.rows[y]
        column = None if self.cursor is None else self.drawing.column_of(self.cursor)
        if column is not None and y < self.drawing.plot_rows:
            row = [*row[:column], self._under_cursor(row[column]), *row[column + 1 :]]
        runs = groupby(row, key=lambda cell: cell[1:])
        segments = [Segment("".join(cell.char for cell in run), self._style(*key)) for key, run in runs]
        return Strip(segments, len(row))

    def _under_cursor(self, cell: Cell) -> Cell:
        """A cell of the cursor's column: lines stay visible, all else becomes the cursor."""
        if cell.char not in " ▀▄╌-":
            return cell
        tint = cell.tint or (cell.ink if cell.ink.startswith("tint") else "")
        return Cell("|" if self.plain else "│", "cursor", tint)

    def _build(self) -> None:
        """Draw; an error is shown in place of the chart, since it must never stop a run."""
        started = self._clock()
        size = self.content_size
        try:
            if self._failure is not None:
                raise self._failure
            self.drawing = draw(self.lines, self._rules, self.view, self._memo)
            self._memo.sweep()
        except Exception as error:  # noqa: BLE001 - shown in place of the chart
            self.drawing = message(f"chart unavailable: {error or type(error).__name__}", size.width, size.height)
        self._stale = False
        ended = self._clock()
        # An empty chart draws its first data without delay.
        self._drawn_at = ended if self.drawing.columns else -float("inf")
        self._draw_time = ended - started
        self.draws += 1

    def _style(self, ink: str, tint: str) -> RichStyle:
        """The style of a run of cells."""
        key = f"{ink}/{tint}"
        if key not in self._styles:
            foreground = self._color(ink) if ink else None
            background = self._color(tint) if tint else self.background_colors[1]
            self._styles[key] = RichStyle(
                color=foreground.rich_color if foreground else None, bgcolor=background.rich_color
            )
        return self._styles[key]

    def _color(self, key: str) -> Color:
        """The colour of an ink or tint in the current theme."""
        if not key.startswith("tint"):
            return self.get_component_styles(f"chart--{key}").color
        ink = self.get_component_styles(f"chart--series{key.removeprefix('tint')}").color
        return self.background_colors[1].blend(ink, TINT)

    def _write_title(self) -> None:
        """The title, the legend and the state of the axes."""
        lines = self.lines
        parts: list[Content | tuple[str, Style]] = [(self._words(self.title), Style(bold=True))]
        for line in lines:
            ink = "dim" if line.dim else f"series-{line.ink % INKS}"
            sign = self._words(line.letter[:1]) or ("-" if self.plain else "━")
            parts += [("  ", Style()), (sign, self._ink(ink)), (f" {self._words(line.label)}", Style())]
        state = ["log"] if self.log_axis else []
        state += [f"smooth {self.smoothing:g}"] if self.smoothing and any(line.smooth for line in lines) else []
        if state:
            parts.append((f"  {', '.join(state)}", self._ink("label")))
        self.border_title = Content.assemble(*parts)  # pyright: ignore[reportAttributeAccessIssue]

    def _write_subtitle(self) -> None:
        """The values at the cursor, else the note."""
        if not self.is_attached:
            return
        parts = [(self._words(self._note), Style())] if self.cursor is None else self._readout(self.cursor)
        self.border_subtitle = Content.assemble(*parts)  # pyright: ignore[reportAttributeAccessIssue]

    def _readout(self, x: float) -> list[tuple[str, Style]]:
        """The cursor's x and the value of every line there."""
        parts = [(f"{self._words(self._x_unit)} {x:,.6g}", Style())]
        values = values_at(self.lines, x, self.drawing.column_width, self.view, self._memo)
        metric = "accuracy" if self.percent else ""
        for line, value in zip(self.lines, values, strict=True):
            ink = "dim" if line.dim else f"series-{line.ink % INKS}"
            name = self._words(line.letter[:1] or line.label)
            parts += [
                (" - " if self.plain else " · ", Style()),
                (name, self._ink(ink)),
                (f" {figure(metric, value)}", Style()),
            ]
        return parts

    def _ink(self, key: str) -> Style:
        return Style(foreground=self._color(key))

    def _words(self, text: str) -> str:
        """Untrusted text made safe for a title."""
        clean = safe(text).translate(PLAIN) if self.plain else safe(text)
        return clean.encode("ascii", "replace").decode() if self.plain else clean

    def action_read(self, columns: int) -> None:
        """Move the cursor; it appears at the end that it would come from."""
        if not self._lines:
            return
        if self._stale or self.waiting:
            self._draw_now()
            self._build()
        drawing = self.drawing
        if self.cursor is None:
            edge = drawing.x_high if columns < 0 else drawing.x_low
            self._read(step_cursor(self._lines, drawing, edge, 0, self._memo, self.view))
            return
        self._read(step_cursor(self._lines, drawing, self.cursor, columns, self._memo, self.view))

    def _read(self, x: float) -> None:
        """Put the cursor on x, and scroll x into view."""
        self.cursor = x
        if self._magnified and not self.drawing.x_low <= x <= self.drawing.x_high:
            self._magnify(x)
        self._write_subtitle()
        self.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Without a cursor, escape is left to the page."""
        return self.cursor is not None if action == "stop_reading" else True

    def action_stop_reading(self) -> None:
        """Remove the cursor."""
        self.cursor = None
        self._write_subtitle()
        self.refresh()

    def action_log(self) -> None:
        """Toggle a logarithmic y axis."""
        self.log_axis = not self.log_axis
        self._draw_now()

    def action_smooth(self) -> None:
        """Switch to the next smoothing factor."""
        later = [factor for factor in SMOOTHINGS if factor > self.smoothing]
        self.smoothing = later[0] if later else SMOOTHINGS[0]
        self._draw_now()

    def action_zoom(self) -> None:
        """Maximize the chart, or restore it."""
        if self.is_maximized:
            self.screen.minimize()
        else:
            self.screen.maximize(self, container=False)

    def action_magnify(self, steps: int) -> None:
        """Halve or double the range of x, around the cursor or at the right end."""
        self._magnified = min(20, max(0, self._magnified + steps))
        self._magnify(self.cursor if self._magnified else None)

    def action_whole(self) -> None:
        """Show the whole range of x."""
        self._magnified = 0
        self._magnify(None)

    def _magnify(self, center: float | None) -> None:
        """Show the range of x around a point, here and in the partners."""
        for chart in (self, *self._partners):
            chart._magnified, chart._center = self._magnified, center
            chart._draw_now()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor at the mouse."""
        offset = event.get_content_offset(self)
        if offset is None or not self._lines or not self.drawing.columns:
            return
        self._read(step_cursor(self._lines, self.drawing, self.drawing.x_at(offset.x), 0, self._memo, self.view))
