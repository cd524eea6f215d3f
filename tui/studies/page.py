"""Study: the runs of one study as a table, the charts that it was made to show, and what they say in words."""

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
from ..state.study_reader import StudyReader, StudySeen
from ..state.study_workers import WorkersReader, Working
from ..state.workspace import MOST_MARKED, Workspace
from ..summaries.study_columns import Line, lines_of, run_columns, settings_of, worker_columns
from ..summaries.study_text import head, run_brief, words_of
from ..widgets.fitted_text import FittedText
from ..widgets.text_table import TextTable
from .actions import go_on, retry_one, stop, stop_run, tell_of_run
from .figure_charts import MOST, FigureCharts

SELDOM = 5
"""How many times as long as a look took to wait before the next."""
WIDE, BESIDE = 170, 110
"""From so many cells on the words stand beside the charts, and charts beside each other."""
TALL = 34
"""From so many lines on what trains stands above the charts."""
View = tuple[Figure, ...] | Literal["at work", "words"]


class StudyPage(Page):
    """Stands above Runs; only reads: the study is worked on by a process of its own."""

    MODE = "runs"
    BINDINGS = [  # noqa: RUF012
        Binding("space", "mark", "Mark", id="study.mark"),
        Binding("c", "compare", "Compare", id="study.compare"),
        Binding("v", "next_view", "View", id="study.view"),
        Binding("V", "next_view(-1)", "The view before", show=False, id="study.view_back"),
        Binding("x", "stop", "Stop", id="study.stop"),
        Binding("r", "go_on", "Go on", id="study.go_on"),
        Binding("R", "retry", "Retry failed", show=False, id="study.retry"),
        Binding("X", "stop_run", "Stop this run, or leave it out", show=False, id="study.stop_run"),
        Binding("t", "retry_run", "Try this run again", show=False, id="study.retry_run"),
        Binding("o", "report", "Report", id="study.report"),
        Binding("escape", "app.back", "Back", id="study.back"),
    ]

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        super().__init__(workspace)
        self.folder = folder
        self._reader, self._workers = StudyReader(folder), WorkersReader(folder)
        self._seen: StudySeen | None = None
        self._working: tuple[Working, ...] = ()
        self._lines: dict[str, Line] = {}
        self._views: list[View] = []
        self._view = 0
        self._placed = self._told_trouble = ""
        self._next_look = 0.0
        self._drawn: tuple[object, ...] | None = None
        self._head = Static("reading the study", id="study-head", markup=False)
        self._trouble = Static("", id="study-trouble", markup=False)
        self._table, self._brief = TextTable(id="study-table"), Static("", id="study-brief", markup=False)
        self._panel = Container(id="study-panel", classes="panel")
        self._worker_table = TextTable(id="study-worker-table")
        self._worker_panel = Container(id="study-workers", classes="panel")
        self._charts = FigureCharts(id="study-charts")
        self._words = FittedText(id="study-says", classes="panel")

    def body(self) -> ComposeResult:
        yield self._head
        yield self._trouble
        with Container(id="study"):
            with Container(id="study-left"):
                with self._panel:
                    yield self._table
                yield self._brief
                with self._worker_panel:
                    yield self._worker_table
                yield self._charts
            yield self._words

    def on_mount(self) -> None:
        self._panel.border_title, self._words.border_title = "Runs", "What it says"
        self._worker_panel.border_title = "At work"
        self._table.focus()

    # -- reading

    def shown(self) -> None:
        self._look()

    def tick(self) -> None:
        """Look again when it is time; the study's process may have ended meanwhile."""
        if time.perf_counter() >= self._next_look:
            self._look()
        self._tell_trouble()

    def _look(self) -> None:
        self._next_look = float("inf")
        self.run_worker(self._read, name="study", group="study", thread=True, exit_on_error=False)

    def _read(self) -> tuple[float, StudySeen, tuple[Working, ...]]:
        begun = time.perf_counter()
        seen = self._reader.read()
        working = self._workers.read(seen.study)
        return time.perf_counter() - begun, seen, working

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        event.stop()
        match event.worker.name, event.state:
            case "study", WorkerState.SUCCESS if event.worker.result is not None:
                took, seen, working = event.worker.result
                self._next_look = time.perf_counter() + max(1.0, SELDOM * took)
                self._show(seen, working)
            case "study", WorkerState.ERROR:
                self._next_look = time.perf_counter() + SELDOM
                self._head.update(safe(event.worker.error))
            case "report", WorkerState.SUCCESS:
                self._reported(str(event.worker.result))
            case "hold" | "again", WorkerState.SUCCESS if event.worker.result is not None:
                tell_of_run(self, self.folder, event.worker.name, event.worker.result)
                self._look()
            case "report" | "hold" | "again", WorkerState.ERROR:
                self.notify(safe(event.worker.error), severity="error", timeout=15, markup=False)
            case _:
                pass

    def _tell_trouble(self) -> None:
        finished = self._seen is not None and self._seen.study.finished
        trouble = "" if finished else self.workspace.processes.trouble(self.folder)
        if trouble != self._told_trouble:
            self._told_trouble = trouble
            self._trouble.display = bool(trouble)
            self._trouble.update("\n".join(safe(line) for line in trouble.splitlines()))

    # -- showing

    def _show(self, seen: StudySeen, working: tuple[Working, ...]) -> None:
        fresh = seen is not self._seen or bool(working) != bool(self._working)
        self._seen, self._working = seen, working
        self._tell_trouble()
        if fresh:
            self._lines = {line.key: line for line in lines_of(seen)}
            self._draw_views()
        self._list()
        self.refresh_bindings()

    def _list(self) -> None:
        seen = self._seen
        if seen is None:
            return
        look = self._table.look(self.workspace.now(), frozenset(self.workspace.marked))
        self._head.update(head(seen, self._status, look), layout=False)
        drawn = (look.inks, look.ascii_only, look.marked)
        if self._drawn is None or self._drawn[0] is not seen or self._drawn[1:] != drawn:
            self._drawn = (seen, *drawn)
            self._table.show(list(self._lines), run_columns(seen, list(self._lines.values()), look))
        self._list_workers()
        self._tell_place()
        self._tell_run()

    def _list_workers(self) -> None:
        if not self._working and self._worker_table.has_focus:
            self._table.focus()
        keys = [item.key for item in self._working]
        look = self._worker_table.look(self.workspace.now())
        self._worker_table.show(keys, worker_columns(self._working, look) if keys else [])

    def _tell_place(self) -> None:
        marked = len(self._marked())
        told = [f"{marked} marked"] if marked else []
        self._panel.border_subtitle = ", ".join([*told, *([self._placed] if self._placed else [])])

    @on(DataTable.RowHighlighted)
    @on(events.DescendantFocus)
    def _tell_run(self) -> None:
        if self._seen:
            look = self._table.look(self.workspace.now())
            self._brief.update(run_brief(self._line, settings_of(self._seen.study), look), layout=False)

    def _draw_views(self) -> None:
        """What trains, the charts in view, and the words: together where there is room, else a view of their own."""
        seen, wide, tall = self._seen, self.size.width >= WIDE, self.size.height >= TALL
        if seen is None:
            return
        self._put_views(seen, at_work=bool(self._working) and not tall, words=not wide)
        view = self._views[self._view] if self._views else ()
        self._words.display = wide or view == "words"
        self._worker_panel.display = bool(self._working) and (tall or view == "at work")
        self._charts.display = isinstance(view, tuple) and len(view) > 0
        if isinstance(view, tuple):
            self._charts.show(view, {line.run.label: f"#{line.key}" for line in self._lines.values()})
        self._placed = f"view {self._view + 1} of {len(self._views)}" if len(self._views) > 1 else ""
        self._tell_place()
        self.set_class(view == "words" and not wide, "-words")
        self.set_class(view == "at work", "-workers")
        self._words.show(seen, self._written)

    def _put_views(self, seen: StudySeen, *, at_work: bool, words: bool) -> None:
        """Find the views that there are; the one in view stays where what trains becomes one, or is none any more."""
        drawn = [[item for item in panel.figures if item.kind == "lines"] for panel in panels(seen.result)]
        most = MOST if self.size.width >= BESIDE else 1
        charts = [tuple(figures[at : at + most]) for figures in drawn for at in range(0, len(figures), most)]
        before = "at work" in self._views
        if self._views and before != at_work:
            self._view += 1 if at_work else -1
        first: list[View] = ["at work"] if at_work else []
        last: list[View] = ["words"] if words else []
        self._views = [*first, *charts, *last]
        self._view = max(0, self._view) % max(1, len(self._views))

    def _written(self, width: int) -> Text:
        assert self._seen is not None
        return words_of(self._seen.result, width, self._table.look(self.workspace.now()))

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_views)

    def action_next_view(self, step: int = 1) -> None:
        self._view = (self._view + step) % max(1, len(self._views))
        self._draw_views()

    # -- the runs

    @property
    def _line(self) -> Line | None:
        """The run under the cursor of the table that has the focus."""
        table = self._worker_table if self._worker_table.has_focus else self._table
        return self._lines.get(table.key or "")

    @property
    def _status(self) -> str:
        """What the study is doing: its process takes a second or two to begin."""
        if self._seen is None:
            return ""
        idle = self._seen.status != "running"
        return "starting" if idle and self.workspace.processes.starting(self.folder) else self._seen.status

    def _marked(self) -> list[str]:
        return [
            run_id for run_id in self.workspace.marked if any(line.run_id == run_id for line in self._lines.values())
        ]

    @on(DataTable.RowSelected)
    def _entered(self) -> None:
        line = self._line
        if line is None or not line.run_id:
            self.notify("This run has not begun.", severity="warning")
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
            self.notify(f"{MOST_MARKED} runs are marked already; unmark one with space", severity="warning")
        self._list()

    def action_compare(self) -> None:
        """Compare the runs marked here; without two of them, the best of all."""
        marked = self._marked()
        if len(marked) < 2:
            rated = [(line.row.best.value, line.run_id) for line in self._lines.values() if line.row and line.row.best]
            best = {run_id for _, run_id in sorted(rated, reverse=True)[:MOST_MARKED]}
            marked = [line.run_id for line in self._lines.values() if line.run_id in best]
            if len(rated) > MOST_MARKED:
                self.notify(f"the best {MOST_MARKED} of {len(rated)} runs", timeout=5)
        if len(marked) < 2:
            self.notify("Two runs with figures make a comparison.", severity="warning")
            return
        self.workspace.marked[:] = marked
        self.post_message(ModeRequested("compare"))

    # -- the study

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Only what can be done with the study as it is."""
        match action:
            case "stop":
                return self._status == "running"
            case "go_on":
                return self._status == "unfinished"
            case "stop_run":
                run = self._line.run if self._line else None
                return run is not None and run.state in ("waiting", "running", "stopped") and run.wish != "hold"
            case "retry_run":
                return self._line is not None and self._line.run.state in ("failed", "stopped")
            case "retry":
                idle = self._status not in ("running", "starting")
                return self._seen is not None and idle and self._seen.study.count("failed") > 0
            case _:
                return True

    def action_stop(self) -> None:
        stop(self, self.folder)

    def action_go_on(self) -> None:
        go_on(self, self.folder)

    def action_retry(self) -> None:
        go_on(self, self.folder, retry_failed=True)

    def action_stop_run(self) -> None:
        if self._line:
            stop_run(self, self.folder, self._line.run)

    def action_retry_run(self) -> None:
        if self._line:
            retry_one(self, self.folder, self._line.run)

    def action_report(self) -> None:
        """Write the report into the study's folder, and open it where there is a browser to open."""
        self.notify("Writing the report ...", timeout=3)
        self.run_worker(self._write_report, name="report", group="report", thread=True, exit_on_error=False)

    def _write_report(self) -> Path:
        from ..report.write import write_report  # matplotlib, 0.8 s

        return write_report(load_study(self.folder), self.folder.parent, self.folder / "report.html", force=True)[0]

    def _reported(self, path: str) -> None:
        self.notify(safe(f"The report is {path}"), timeout=15, markup=False)
        if not self.app.is_headless and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)):
            self.app.open_url(Path(path).absolute().as_uri())
