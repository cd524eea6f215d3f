"""The Study page: the runs of one study as a table, its workers, its charts, and its findings."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Literal

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.widgets import DataTable, Static
from textual.worker import Worker, WorkerState

from ...core.results.chart_data import Figure, panels
from ...core.studies.store import load_study
from ..format.values import safe
from ..screens.page import Page
from ..state.messages import ModeRequested, WatchRequested
from ..state.study_reader import StudyReader, StudySnapshot
from ..state.study_workers import WorkersReader, WorkerStatus
from ..state.workspace import MAX_MARKED, Workspace
from ..summaries.study_columns import Line, lines_of, run_columns, settings_of, worker_columns
from ..summaries.study_text import head, run_brief, words_of
from ..widgets.fitted_text import FittedText
from ..widgets.text_table import TextTable
from .actions import report_run_change, resume, retry_run, stop, stop_run
from .figure_charts import MAX_CHARTS, FigureCharts

IDLE_FACTOR = 5
"""Wait this many times the duration of the last read before reading again."""
WIDE, BESIDE = 170, 110
"""Widths from which the findings are beside the charts, and charts beside each other."""
TALL = 34
"""Height from which the workers are above the charts."""
View = tuple[Figure, ...] | Literal["workers", "findings"]


class StudyPage(Page):
    """Shown above Runs; only reads the study, which separate processes run."""

    MODE = "runs"
    BINDINGS = [  # noqa: RUF012
        Binding("space", "mark", "Mark", id="study.mark"),
        Binding("c", "compare", "Compare", id="study.compare"),
        Binding("v", "next_view", "View", id="study.view"),
        Binding("V", "next_view(-1)", "Previous view", show=False, id="study.view_back"),
        Binding("x", "stop", "Stop", id="study.stop"),
        Binding("r", "resume", "Resume", id="study.resume"),
        Binding("R", "retry", "Retry failed", show=False, id="study.retry"),
        Binding("X", "stop_run", "Stop or skip this run", show=False, id="study.stop_run"),
        Binding("t", "retry_run", "Retry this run", show=False, id="study.retry_run"),
        Binding("o", "report", "Report", id="study.report"),
        Binding("escape", "app.back", "Back", id="study.back"),
    ]

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        super().__init__(workspace)
        self.folder = folder
        self._reader, self._workers = StudyReader(folder), WorkersReader(folder)
        self._snapshot: StudySnapshot | None = None
        self._statuses: tuple[WorkerStatus, ...] = ()
        self._lines: dict[str, Line] = {}
        self._views: list[View] = []
        self._view = 0
        self._view_text = self._shown_failure = ""
        self._next_read = 0.0
        self._drawn: tuple[object, ...] | None = None
        self._head = Static("reading the study ...", id="study-head", markup=False)
        self._failure = Static("", id="study-failure", markup=False)
        self._table, self._brief = TextTable(id="study-table"), Static("", id="study-brief", markup=False)
        self._panel = Container(id="study-panel", classes="panel")
        self._worker_table = TextTable(id="study-worker-table")
        self._worker_panel = Container(id="study-workers", classes="panel")
        self._charts = FigureCharts(id="study-charts")
        self._findings = FittedText(id="study-findings", classes="panel")

    def body(self) -> ComposeResult:
        yield self._head
        yield self._failure
        with Container(id="study"):
            with Container(id="study-left"):
                with self._panel:
                    yield self._table
                yield self._brief
                with self._worker_panel:
                    yield self._worker_table
                yield self._charts
            yield self._findings

    def on_mount(self) -> None:
        self._panel.border_title, self._findings.border_title = "Runs", "Findings"
        self._worker_panel.border_title = "Workers"
        self._table.focus()

    # -- reading

    def activate(self) -> None:
        self._start_reading()

    def tick(self) -> None:
        """Read again if it is time; and check whether the study's process has failed."""
        if time.perf_counter() >= self._next_read:
            self._start_reading()
        self._show_failure()

    def _start_reading(self) -> None:
        self._next_read = float("inf")
        self.run_worker(self._read, name="study", group="study", thread=True, exit_on_error=False)

    def _read(self) -> tuple[float, StudySnapshot, tuple[WorkerStatus, ...]]:
        start = time.perf_counter()
        snapshot = self._reader.read()
        statuses = self._workers.read(snapshot.study)
        return time.perf_counter() - start, snapshot, statuses

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        event.stop()
        match event.worker.name, event.state:
            case "study", WorkerState.SUCCESS if event.worker.result is not None:
                took, snapshot, statuses = event.worker.result
                self._next_read = time.perf_counter() + max(1.0, IDLE_FACTOR * took)
                self._show(snapshot, statuses)
            case "study", WorkerState.ERROR:
                self._next_read = time.perf_counter() + IDLE_FACTOR
                self._head.update(safe(event.worker.error))
            case "report", WorkerState.SUCCESS:
                self._reported(str(event.worker.result))
            case "hold" | "again", WorkerState.SUCCESS if event.worker.result is not None:
                report_run_change(self, self.folder, event.worker.name, event.worker.result)
                self._start_reading()
            case "report" | "hold" | "again", WorkerState.ERROR:
                self.notify(safe(event.worker.error), severity="error", timeout=15, markup=False)
            case _:
                pass

    def _show_failure(self) -> None:
        finished = self._snapshot is not None and self._snapshot.study.finished
        failure = "" if finished else self.workspace.processes.failure(self.folder)
        if failure != self._shown_failure:
            self._shown_failure = failure
            self._failure.display = bool(failure)
            self._failure.update("\n".join(safe(line) for line in failure.splitlines()))

    # -- showing

    def _show(self, snapshot: StudySnapshot, statuses: tuple[WorkerStatus, ...]) -> None:
        fresh = snapshot is not self._snapshot or bool(statuses) != bool(self._statuses)
        self._snapshot, self._statuses = snapshot, statuses
        self._show_failure()
        if fresh:
            self._lines = {line.key: line for line in lines_of(snapshot)}
            self._draw_views()
        self._list()
        self.refresh_bindings()

    def _list(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        look = self._table.look(self.workspace.now(), frozenset(self.workspace.marked))
        self._head.update(head(snapshot, self._status, look), layout=False)
        drawn = (look.inks, look.ascii_only, look.marked)
        if self._drawn is None or self._drawn[0] is not snapshot or self._drawn[1:] != drawn:
            self._drawn = (snapshot, *drawn)
            self._table.show(list(self._lines), run_columns(snapshot, list(self._lines.values()), look))
        self._list_workers()
        self._show_place()
        self._show_run()

    def _list_workers(self) -> None:
        if not self._statuses and self._worker_table.has_focus:
            self._table.focus()
        keys = [item.key for item in self._statuses]
        look = self._worker_table.look(self.workspace.now())
        self._worker_table.show(keys, worker_columns(self._statuses, look) if keys else [])

    def _show_place(self) -> None:
        marked = len(self._marked())
        texts = [f"{marked} marked"] if marked else []
        self._panel.border_subtitle = ", ".join([*texts, *([self._view_text] if self._view_text else [])])

    @on(DataTable.RowHighlighted)
    @on(events.DescendantFocus)
    def _show_run(self) -> None:
        if self._snapshot:
            look = self._table.look(self.workspace.now())
            self._brief.update(run_brief(self._line, settings_of(self._snapshot.study), look), layout=False)

    def _draw_views(self) -> None:
        """Lay out workers, charts and findings: together if they fit, otherwise as separate views."""
        snapshot, wide, tall = self._snapshot, self.size.width >= WIDE, self.size.height >= TALL
        if snapshot is None:
            return
        self._set_views(snapshot, with_workers=bool(self._statuses) and not tall, with_findings=not wide)
        view = self._views[self._view] if self._views else ()
        self._findings.display = wide or view == "findings"
        self._worker_panel.display = bool(self._statuses) and (tall or view == "workers")
        self._charts.display = isinstance(view, tuple) and len(view) > 0
        if isinstance(view, tuple):
            self._charts.show(view, {line.run.label: f"#{line.key}" for line in self._lines.values()})
        self._view_text = f"view {self._view + 1} of {len(self._views)}" if len(self._views) > 1 else ""
        self._show_place()
        self.set_class(view == "findings" and not wide, "-findings")
        self.set_class(view == "workers", "-workers")
        self._findings.show(snapshot, self._findings_text)

    def _set_views(self, snapshot: StudySnapshot, *, with_workers: bool, with_findings: bool) -> None:
        """Determine the views; the current one stays when the view of workers appears or disappears."""
        drawn = [[item for item in panel.figures if item.kind == "lines"] for panel in panels(snapshot.result)]
        limit = MAX_CHARTS if self.size.width >= BESIDE else 1
        charts = [tuple(figures[at : at + limit]) for figures in drawn for at in range(0, len(figures), limit)]
        before = "workers" in self._views
        if self._views and before != with_workers:
            self._view += 1 if with_workers else -1
        first: list[View] = ["workers"] if with_workers else []
        last: list[View] = ["findings"] if with_findings else []
        self._views = [*first, *charts, *last]
        self._view = max(0, self._view) % max(1, len(self._views))

    def _findings_text(self, width: int) -> Text:
        assert self._snapshot is not None
        return words_of(self._snapshot.result, width, self._table.look(self.workspace.now()))

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_views)

    def action_next_view(self, step: int = 1) -> None:
        self._view = (self._view + step) % max(1, len(self._views))
        self._draw_views()

    # -- the runs

    @property
    def _line(self) -> Line | None:
        """The selected run of the table with the focus."""
        table = self._worker_table if self._worker_table.has_focus else self._table
        return self._lines.get(table.key or "")

    @property
    def _status(self) -> str:
        """The status of the study; its process takes a second or two to start."""
        if self._snapshot is None:
            return ""
        idle = self._snapshot.status != "running"
        return "starting" if idle and self.workspace.processes.is_starting(self.folder) else self._snapshot.status

    def _marked(self) -> list[str]:
        return [
            run_id for run_id in self.workspace.marked if any(line.run_id == run_id for line in self._lines.values())
        ]

    @on(DataTable.RowSelected)
    def _entered(self) -> None:
        line = self._line
        if line is None or not line.run_id:
            self.notify("This run has not started.", severity="warning")
        elif line.run.state == "running":
            self.post_message(WatchRequested(self.workspace.logs / line.run_id))
        else:
            self.workspace.chosen = line.run_id
            self.post_message(ModeRequested("analyze"))

    def action_mark(self) -> None:
        line = self._line
        if line is None or not line.run_id:
            return
        if not self.workspace.toggle_mark(line.run_id):
            self.notify(f"{MAX_MARKED} runs are marked already; unmark one with space", severity="warning")
        self._list()

    def action_compare(self) -> None:
        """Compare the marked runs of this study; if there are fewer than two, its best ones."""
        marked = self._marked()
        if len(marked) < 2:
            rated = [(line.row.best.value, line.run_id) for line in self._lines.values() if line.row and line.row.best]
            best = {run_id for _, run_id in sorted(rated, reverse=True)[:MAX_MARKED]}
            marked = [line.run_id for line in self._lines.values() if line.run_id in best]
            if len(rated) > MAX_MARKED:
                self.notify(f"the best {MAX_MARKED} of {len(rated)} runs", timeout=5)
        if len(marked) < 2:
            self.notify("A comparison needs two runs with results.", severity="warning")
            return
        self.workspace.marked[:] = marked
        self.post_message(ModeRequested("compare"))

    # -- the study

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Only the actions that apply to the study's current state."""
        match action:
            case "stop":
                return self._status == "running"
            case "resume":
                return self._status == "unfinished"
            case "stop_run":
                run = self._line.run if self._line else None
                return run is not None and run.state in ("waiting", "running", "stopped") and run.wish != "hold"
            case "retry_run":
                return self._line is not None and self._line.run.state in ("failed", "stopped")
            case "retry":
                idle = self._status not in ("running", "starting")
                return self._snapshot is not None and idle and self._snapshot.study.count("failed") > 0
            case _:
                return True

    def action_stop(self) -> None:
        stop(self, self.folder)

    def action_resume(self) -> None:
        resume(self, self.folder)

    def action_retry(self) -> None:
        resume(self, self.folder, retry_failed=True)

    def action_stop_run(self) -> None:
        if self._line:
            stop_run(self, self.folder, self._line.run)

    def action_retry_run(self) -> None:
        if self._line:
            retry_run(self, self.folder, self._line.run)

    def action_report(self) -> None:
        """Write the report into the study's folder, and open it if there is a desktop."""
        self.notify("Writing the report ...", timeout=3)
        self.run_worker(self._write_report, name="report", group="report", thread=True, exit_on_error=False)

    def _write_report(self) -> Path:
        from ..report.write import write_report  # matplotlib, 0.8 s

        return write_report(load_study(self.folder), self.folder.parent, self.folder / "report.html", force=True)[0]

    def _reported(self, path: str) -> None:
        self.notify(safe(f"Report written to {path}"), timeout=15, markup=False)
        if not self.app.is_headless and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)):
            self.app.open_url(Path(path).absolute().as_uri())
