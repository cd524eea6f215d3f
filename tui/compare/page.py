"""The Compare page: the marked runs in one chart, and a table of results and differing settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.content import Content
from textual.widgets import Static

from ...core.errors import InputError
from ...core.events import EpochCompleted, RunEvent, StepCompleted
from ...core.results.curves import AXES, Axis
from ...core.runs.record import READING, RunRecord
from ..charts.drawing import Line
from ..format.columns import TextColumn
from ..format.values import parse_accuracy, safe
from ..screens.dialogs import TextDialog
from ..screens.page import Page
from ..state.messages import CopyRequested
from ..state.workspace import Workspace
from ..summaries.run_comparison import (
    LETTERS,
    Entry,
    band_lines,
    metric_title,
    metrics,
    reached_by_all,
    run_lines,
    tab_separated,
    table,
)
from ..summaries.run_settings import differing
from ..widgets.chart import Chart
from .diff_table import DiffTable

TOO_FEW = (
    "{marked}\n\nMark two to eight runs in Runs (3) with space,\nthen press c to compare their curves and settings."
)
MIN_RUNS = 2


class ComparePage(Page):
    """Compares the runs in `workspace.marked`."""

    MODE = "compare"
    BINDINGS = [  # noqa: RUF012
        Binding("m", "next_metric", "Metric", id="compare.metric"),
        Binding("b", "band", "Band", id="compare.band"),
        Binding("e", "next_axis", "X axis: steps, epochs, time", show=False, id="compare.axis"),
        Binding("t", "goal", "Time to an accuracy", show=False, id="compare.goal"),
        Binding("k", "copy", "Copy", id="compare.copy"),
        Binding("delete,backspace", "unmark", "Remove the run from the comparison", show=False, id="compare.unmark"),
        *(
            Binding(letter.upper(), f"hide({place})", f"Hide or show run {letter}", show=False, id=f"compare.{letter}")
            for place, letter in enumerate(LETTERS)
        ),
    ]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._chart, self._table = (
            Chart("Test accuracy", percent=True, id="compare-chart"),
            DiffTable(id="compare-table"),
        )
        self._whole, self._panel = Container(id="compare"), Container(id="compare-panel", classes="panel")
        self._empty = Static("", id="compare-nothing", markup=False)
        self.lines: list[Line] = []
        self.entries: list[Entry] = []
        self.columns: list[TextColumn] = []
        self._hidden: set[str] = set()
        self._metric = "test/accuracy"
        self._axis: Axis = "step"
        self._banded = False
        self._goal: float | None = None
        self._drawn: object = None

    def body(self) -> ComposeResult:
        yield self._empty
        with self._whole:
            yield self._chart
            with self._panel:
                yield self._table

    def on_mount(self) -> None:
        self._chart.focus()

    def activate(self) -> None:
        self.tick()
        if self.focused is None and self._whole.display:
            self._chart.focus()

    def receive(self, events: Sequence[RunEvent]) -> None:
        if any(isinstance(event, StepCompleted | EpochCompleted) for event in events):
            self._show(self._read())

    def tick(self) -> None:
        """Read what changed, and show it."""
        rows = {row.id: row for row in self.workspace.rows()}
        self.workspace.marked[:] = [run_id for run_id in self.workspace.marked if run_id in rows]
        self.entries = [
            Entry(place, rows[run_id], self.workspace.record(run_id), run_id in self._hidden)
            for place, run_id in enumerate(self.workspace.marked)
        ]
        self._show(self.entries)

    def _read(self) -> list[Entry]:
        """The compared runs, with the current records of active ones."""
        return [
            replace(entry, record=self.workspace.record(entry.row.id), hidden=entry.row.id in self._hidden)
            for entry in self.entries
        ]

    def _show(self, entries: list[Entry]) -> None:
        self.entries = entries
        enough = len(entries) >= MIN_RUNS
        self._whole.display = enough
        empty = self._empty
        empty.display = not enough
        if not enough:
            empty.update(TOO_FEW.format(marked=f"{len(entries)} run is marked." if entries else "No run is marked."))
            return
        seen = [(e.row, e.hidden, _state(e.record)) for e in entries]
        drawn = (seen, self._metric, self._axis, self._banded, self._goal)
        if drawn != self._drawn:
            self._drawn = drawn
            self._draw(entries)

    def _draw(self, entries: list[Entry]) -> None:
        if self._metric not in metrics(entries):
            self._metric = metrics(entries)[0]
        draw = band_lines if self._banded else run_lines
        self.lines = draw(entries, self._metric, self._axis)
        goal = self._goal if self._goal is not None else reached_by_all(entries)
        chart, list_ = self._chart, self._table
        self.columns = table(entries, goal, list_.look(self.workspace.now()))
        title = metric_title(self._metric) + (", min to max" if self._banded else "")
        chart.set_title(title, percent=self._metric.endswith("accuracy"))
        stages = {entry.record.stage for entry in entries if entry.record.status == READING}
        chart.show(self.lines, x_unit=self._axis, note=", ".join(sorted(stages)))
        list_.show([entry.row.id for entry in entries], self.columns)
        self.call_after_refresh(self._head)

    def _head(self) -> None:
        """The title of the table, and the number of hidden columns."""
        panel, left_out = self._panel, self._table.left_out
        differ = differing([entry.row for entry in self.entries])
        about = "only settings that differ" if differ else "all settings are the same"
        panel.border_title = Content.from_markup(f"Runs  [$quiet not bold]{about}[/]")  # pyright: ignore[reportAttributeAccessIssue]
        panel.border_subtitle = f"+{left_out} more" if left_out else ""

    def on_resize(self) -> None:
        self.call_after_refresh(self._head)

    # -- keys

    def offers(self, action: str) -> bool:  # noqa: ARG002 - the same for all
        """Without a comparison there is nothing to act on."""
        return len(self.entries) >= MIN_RUNS

    def action_next_metric(self) -> None:
        known = metrics(self.entries)
        place = known.index(self._metric) if self._metric in known else -1
        self._metric = known[(place + 1) % len(known)]
        self._show(self.entries)

    def action_next_axis(self) -> None:
        self._axis = AXES[(AXES.index(self._axis) + 1) % len(AXES)]
        self._show(self.entries)

    def action_band(self) -> None:
        self._banded = not self._banded
        self._show(self.entries)

    def action_hide(self, place: int) -> None:
        """Hide or show a run's curve."""
        if place < len(self.entries):
            self._hidden ^= {self.entries[place].row.id}
            self._show(self._read())

    @on(DiffTable.Hidden)
    def _hide_one(self, message: DiffTable.Hidden) -> None:
        self.action_hide(message.place)

    def action_unmark(self) -> None:
        place = self._table.cursor_row
        if place < len(self.entries):
            run_id = self.entries[place].row.id
            self.workspace.marked.remove(run_id)
            self._hidden.discard(run_id)
            self.tick()

    def action_copy(self) -> None:
        if len(self.entries) >= MIN_RUNS:
            self.post_message(CopyRequested(tab_separated(self.columns), "the table"))

    def action_goal(self) -> None:
        goal = self._goal if self._goal is not None else reached_by_all(self.entries)
        text = "Test accuracy in percent; empty: the highest that all runs reached."
        value = f"{100 * goal:.4g}" if goal is not None else ""
        self.app.push_screen(TextDialog("Time to which accuracy?", text, value), self._take_goal)

    def _take_goal(self, text: str | None) -> None:
        if text is None:
            return
        try:
            self._goal = parse_accuracy(text) if text else None
        except InputError as error:
            self.notify(safe(error), severity="warning", markup=False)
            return
        self._show(self.entries)


def _state(record: RunRecord) -> tuple[object, ...]:
    """What changes when a record has something new to show."""
    return record.status, record.stage, len(record.epochs), record.step
