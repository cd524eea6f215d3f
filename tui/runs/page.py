"""The Runs page: all runs of the logs folder as a table, with details of the selected one."""

from __future__ import annotations

import time
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Horizontal
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from ...core.errors import TorchdeckError
from ...core.runs import manage
from ...core.runs.index import RunRow, parse_filter
from ...core.runs.record import READING, RunRecord
from ..charts.run_series import accuracy_lines, accuracy_note, reported_rules
from ..format.values import safe
from ..screens.dialogs import Answer, ConfirmDialog, TextDialog
from ..screens.page import Page
from ..state.messages import (
    RESUMABLE,
    CopyRequested,
    ModeRequested,
    ResumeRequested,
    ReuseRequested,
    StudyRequested,
    WatchRequested,
)
from ..state.workspace import MAX_MARKED, Workspace
from ..summaries.run_columns import Look, Order, in_order, name_of
from ..summaries.run_details import details, two_lines
from ..widgets.chart import Chart
from .offers import ACTIVE, offered
from .run_detail import RunDetail
from .run_table import RunTable
from .texts import HINT, NO_MATCH, NO_RUNS

DETAIL_DELAY_SECONDS = 0.15
IDLE_FACTOR = 100
"""Wait this many times the duration of the last read before reading again: 1 % of a core at most."""


class RunsPage(Page):
    """Lists `workspace.rows()`; its keys act on the selected run."""

    MODE = "runs"
    BINDINGS = [  # noqa: RUF012
        Binding("w", "watch", "Watch", id="runs.watch"),
        Binding("R", "resume", "Resume", id="runs.resume"),
        Binding("space", "mark", "Mark", id="runs.mark"),
        Binding("c", "compare", "Compare", id="runs.compare"),
        Binding("slash", "filter", "Filter", key_display="/", id="runs.filter"),
        Binding("o", "next_order", "Sort", id="runs.sort"),
        Binding("r", "reverse", "Reverse the order", show=False, id="runs.reverse"),
        Binding("u", "reuse", "Reuse", id="runs.reuse"),
        Binding("delete,backspace", "trash", "Delete", key_display="del", id="runs.delete"),
        Binding("ctrl+z", "restore", "Restore the last deleted run", show=False, id="runs.restore"),
        Binding("s", "study", "The study of the run", show=False, id="runs.study"),
        Binding("S", "studies", "Studies", id="runs.studies"),
        Binding("t", "tags", "Edit the tags", show=False, id="runs.tags"),
        Binding("n", "note", "Edit the note", show=False, id="runs.note"),
        Binding("k", "copy", "Copy the run's id", show=False, id="runs.copy"),
        Binding("escape", "leave_filter", "Leave the filter", show=False, id="runs.leave_filter"),
    ]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._table, self._chart = RunTable(id="table"), Chart("Accuracy", percent=True, id="runs-chart")
        self._detail_panel, self._brief = RunDetail(id="detail", classes="panel"), RunDetail(id="brief")
        self._panel = Container(id="runs-panel", classes="panel")
        self._field = Input(placeholder=HINT, compact=True, id="filter")
        self._error = Static("", id="filter-error", markup=False)
        self._empty = Static(NO_RUNS, id="runs-nothing", markup=False)
        self._test = parse_filter("")
        self._order = Order()
        self._seen: dict[str, RunRow] = {}
        self._next_read = 0.0
        self._delay: Timer | None = None
        self._details: tuple[RunRow, RunRecord | None] | None = None

    def body(self) -> ComposeResult:
        with Container(id="runs"):
            with self._panel:
                with Horizontal(id="runs-filter"):
                    yield self._field
                    yield self._error
                yield self._table
                yield self._empty
            with Container(id="runs-side"):
                yield self._detail_panel
                yield self._chart
            yield self._brief

    def on_mount(self) -> None:
        self._panel.border_title = "Runs"
        self._detail_panel.border_title = "Details"
        kept = self.workspace.preferences
        self._order = Order(kept.text("runs.sort", "age"), kept.flag("runs.reverse"))
        field = self._field
        with self.prevent(Input.Changed):
            field.value = kept.text("runs.filter")
        self._take_filter(field.value)
        self._table.focus()

    def activate(self) -> None:
        self.read()

    def tick(self) -> None:
        """Read again if it is time."""
        if time.perf_counter() >= self._next_read:
            self.read()
        elif self._details and (record := self._details[1]) and record.status == READING:
            self._show_details()

    def read(self) -> None:
        """Read what changed, and show it."""
        start = time.perf_counter()
        self._update()
        now = time.perf_counter()
        self._next_read = now + IDLE_FACTOR * (now - start)

    def _update(self) -> None:
        rows = self.workspace.rows()
        self._seen = {row.id: row for row in rows}
        self._list()
        self._show_details()

    # -- the list

    def _list(self) -> None:
        rows = list(self._seen.values())
        matching = in_order([row for row in rows if self._test(row)], self._order)
        table, empty = self._table, self._empty
        table.show(matching, self.workspace.marked, self.workspace.now(), self._order)
        table.display, empty.display = bool(matching), not matching
        if matching and self.focused is None:
            table.focus()
        if not matching:
            empty.update(NO_MATCH if rows else NO_RUNS)
        counts = [f"{len(matching)} of {len(rows)}"]
        counts += [f"{len(self.workspace.marked)} marked"] if self.workspace.marked else []
        self._panel.border_subtitle = (", " if self.app.has_class("-ascii") else " · ").join(counts)

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        if self._take_filter(event.value):
            self._list()
            self._show_details()

    def _take_filter(self, text: str) -> bool:
        """Apply and store a filter; if it is invalid, show why, and keep the last valid one."""
        try:
            self._test = parse_filter(text)
        except TorchdeckError as fault:
            self._error.update(safe(fault))
            self._error.display = True
            return False
        self._error.display = False
        self.workspace.preferences.keep("runs.filter", text)
        return True

    @on(Input.Submitted, "#filter")
    def action_leave_filter(self) -> None:
        self.set_focus(self._table if self._table.display else None)

    def action_filter(self) -> None:
        self._field.focus()

    def action_next_order(self) -> None:
        shown = self._table.shown_columns
        place = shown.index(self._order.key) if self._order.key in shown else -1
        self._sort(Order(shown[(place + 1) % len(shown)])) if shown else None

    def action_reverse(self) -> None:
        self._sort(Order(self._order.key, not self._order.reverse))

    @on(DataTable.HeaderSelected)
    def _header_clicked(self, event: DataTable.HeaderSelected) -> None:
        key = event.column_key.value or "age"
        self._sort(Order(key, not self._order.reverse if key == self._order.key else False))

    def _sort(self, order: Order) -> None:
        self._order = order
        self.workspace.preferences.keep("runs.sort", order.key)
        self.workspace.preferences.keep("runs.reverse", order.reverse)
        self._list()

    # -- the run under the cursor

    @property
    def _run(self) -> RunRow | None:
        run_id = self._table.run_id
        return self._seen.get(run_id) if run_id else None

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        row = self._run
        if row is None or (self._details and self._details[0] is row):
            return
        self._show_run(row, None)
        if self._delay:
            self._delay.stop()
        self._delay = self.set_timer(DETAIL_DELAY_SECONDS, self._show_details)

    def _show_details(self) -> None:
        """Read the selected run, unless it is shown already."""
        row, known = self._run, self._details
        if row is None or row.status == "unreadable":
            self._show_run(row, None)
            return
        record = self.workspace.record(row.id)
        if known is None or known[0] is not row or known[1] is not record or row.status in ACTIVE:
            self._show_run(row, record)

    def _show_run(self, row: RunRow | None, record: RunRecord | None) -> None:
        self._details = (row, record) if row else None
        if row is None:
            self._detail_panel.show(None)
            self._brief.show(None)
        else:
            self._detail_panel.show(lambda width, height: details(row, record, self._cell_look(), width, height))
            self._brief.show(lambda width, _: two_lines(row, self._cell_look(), width))
        self.show_state()
        if record is not None or row is None or row.status == "unreadable":
            self._draw(record or RunRecord())

    def _draw(self, record: RunRecord) -> None:
        lines = accuracy_lines(record, "epoch")
        self._chart.show(lines, reported_rules(record), x_unit="epoch", note=accuracy_note(record, None))

    def _cell_look(self) -> Look:
        return self._table.look(self.workspace.now(), frozenset(self.workspace.marked))

    def _readable(self) -> RunRow | None:
        """The selected run, if its log is readable; otherwise notify the user."""
        row = self._run
        if row is not None and row.status == "unreadable":
            self._notify(f"{row.id}: {row.problem}")
            return None
        return row

    def _notify(self, text: str, *, bad: bool = True) -> None:
        self.notify(safe(text), severity="warning" if bad else "information", markup=False)

    def offers(self, action: str) -> bool:
        return offered(action, self._run, len(self._seen))

    # -- marks

    def action_mark(self) -> None:
        row = self._readable()
        if row is None:
            return
        if not self.workspace.toggle_mark(row.id):
            self._notify(f"{MAX_MARKED} runs are marked already; unmark one with space")
        self._list()

    def action_compare(self) -> None:
        row, marked = self._run, self.workspace.marked
        if len(marked) < 2 and row is not None and row.status != "unreadable" and row.id not in marked:
            marked.append(row.id)
            self._list()
        if len(marked) < 2:
            self._notify("mark another run with space: a comparison needs two")
            return
        self.post_message(ModeRequested("compare"))

    # -- other pages

    @on(DataTable.RowSelected)
    def _entered(self) -> None:
        row = self._readable()
        if row is None:
            return
        if row.status in ACTIVE:
            self.action_watch()
            return
        self.workspace.chosen = row.id
        self.post_message(ModeRequested("analyze"))

    def action_watch(self) -> None:
        row = self._readable()
        if row is None:
            return
        if row.status not in ACTIVE:
            self._notify(f"{row.id} is {row.status}: only active runs can be watched")
        elif self._followed(row):
            self.post_message(ModeRequested("live"))
        else:
            self.post_message(WatchRequested(row.folder))

    def action_studies(self) -> None:
        self.post_message(StudyRequested(None))

    def action_study(self) -> None:
        """Show the study that the run belongs to."""
        if row := self._readable():
            folder = self.workspace.study_of(row.id)
            lone = f"{row.id} belongs to no study of this folder; S lists the studies"
            self.post_message(StudyRequested(folder)) if folder else self._notify(lone)

    def _followed(self, row: RunRow) -> bool:
        """Whether the Live page shows this run already."""
        feed = self.workspace.feed
        started = feed.record.started if feed and not feed.over else None
        return started is not None and started.run_id == row.id

    def action_reuse(self) -> None:
        row = self._readable()
        config: Any = row.header.get("config") if row else None
        if row and isinstance(config, dict):
            self.post_message(ReuseRequested(row.preset, config))

    def action_resume(self) -> None:
        row = self._readable()
        if row is not None and row.status in RESUMABLE:
            self.post_message(ResumeRequested(row.folder))
        elif row is not None:
            self._notify(f"{row.id} is {row.status}: there is nothing to resume")

    def action_copy(self) -> None:
        if row := self._run:
            self.post_message(CopyRequested(row.id, "the run's id"))

    # -- manage runs

    def action_trash(self) -> None:
        row = self._run
        if row is None:
            return
        if row.status in ACTIVE:
            self._notify(f"{row.id} is active: stop it first")
            return
        text = f"{name_of(row)}, {row.id}\n\nIt is moved to the trash of the logs folder."
        answers = [Answer("trash", "Delete", True), Answer("", "Keep")]
        self.app.push_screen(ConfirmDialog("Delete this run?", text, answers), lambda answer: self._trash(row, answer))

    def _trash(self, row: RunRow, answer: str | None) -> None:
        if not answer:
            return
        if self._try(lambda: manage.trash(row.folder)):
            if row.id in self.workspace.marked:
                self.workspace.marked.remove(row.id)
            if self.workspace.chosen == row.id:
                self.workspace.chosen = None
            self._notify(f"{row.id} is in the trash: ctrl+z restores it", bad=False)
        self.read()

    def action_restore(self) -> None:
        trashed = manage.trash_ids(self.workspace.logs)
        if not trashed:
            self._notify("the trash is empty")
            return
        if self._try(lambda: manage.restore(self.workspace.logs, trashed[-1])):
            self._notify(f"{trashed[-1]} is restored", bad=False)
        self.read()
        self._table.go_to(trashed[-1])

    def action_tags(self) -> None:
        row = self._readable()
        if row is None:
            return
        tags, _ = manage.read_notes(row.folder)
        given = [tag for tag in row.tags if tag not in tags]
        text = "Separated by spaces." + (f" Set at its start: {' '.join(given)}" if given else "")
        dialog = TextDialog(f"Tags of {row.id}", text, safe(" ".join(tags)))
        self.app.push_screen(dialog, lambda text: self._set_tags(row, text))

    def _set_tags(self, row: RunRow, text: str | None) -> None:
        if text is not None:
            note = manage.read_notes(row.folder)[1]
            self._try(lambda: manage.write_notes(row.folder, text.split(), note))
            self.read()

    def action_note(self) -> None:
        row = self._readable()
        if row is None:
            return
        _, note = manage.read_notes(row.folder)
        dialog = TextDialog(f"Note on {row.id}", "One line.", safe(note))
        self.app.push_screen(dialog, lambda text: self._set_note(row, text))

    def _set_note(self, row: RunRow, text: str | None) -> None:
        if text is not None:
            tags = manage.read_notes(row.folder)[0]
            self._try(lambda: manage.write_notes(row.folder, tags, text))
            self.read()

    def _try(self, do: Any) -> bool:
        """Do something, and notify the user of an error; returns whether it succeeded."""
        try:
            do()
        except TorchdeckError as error:
            self.notify(safe(error), severity="error", markup=False)
            return False
        return True
