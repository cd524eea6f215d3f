"""The Studies page: the studies of the logs folder with their progress, and those that are ready to start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.widgets import DataTable, Static
from textual.worker import Worker, WorkerState

from ...core.errors import TorchdeckError
from ...presets.study_presets import load_declaration, study_names
from ..format.values import safe
from ..screens.page import Page
from ..state.messages import CopyRequested, StudyRequested
from ..state.study_reader import StudyEntry, StudyLister
from ..state.workspace import Workspace
from ..summaries.study_columns import list_columns
from ..summaries.study_text import entry_brief
from ..widgets.text_table import TextTable
from .actions import resume, start, stop

IDLE_FACTOR = 20
"""Wait this many times the duration of the last read before reading again."""


class StudiesPage(Page):
    """Shown above Runs; its keys act on the selected study."""

    MODE = "runs"
    BINDINGS = [  # noqa: RUF012
        Binding("x", "stop", "Stop", id="studies.stop"),
        Binding("r", "resume", "Resume", id="studies.resume"),
        Binding("k", "copy", "Copy the command", show=False, id="studies.copy"),
        Binding("escape", "app.back", "Back", id="studies.back"),
    ]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._table = TextTable(id="studies-table")
        self._brief = Static("reading the studies ...", id="studies-brief", markup=False)
        self._panel = Container(id="studies-panel", classes="panel")
        self._lister = StudyLister(workspace.logs)
        self._entries: dict[str, StudyEntry] = {}
        self._next_read = 0.0

    def body(self) -> ComposeResult:
        with self._panel:
            yield self._table
        yield self._brief

    def on_mount(self) -> None:
        self._panel.border_title = "Studies"
        self._table.focus()

    def activate(self) -> None:
        self._start_reading()

    def tick(self) -> None:
        """Read again if it is time."""
        if time.perf_counter() >= self._next_read:
            self._start_reading()

    def _start_reading(self) -> None:
        self._next_read = float("inf")
        self.run_worker(self._read, name="studies", group="studies", thread=True, exit_on_error=False)

    def _read(self) -> tuple[float, list[StudyEntry]]:
        start_time = time.perf_counter()
        found = [*self._lister.read(), *_declared()]
        return time.perf_counter() - start_time, found

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.name != "studies":
            return
        event.stop()
        if event.state is WorkerState.SUCCESS and event.worker.result is not None:
            took, entries = event.worker.result
            self._next_read = time.perf_counter() + max(1.0, IDLE_FACTOR * took)
            self._show(entries)
        elif event.state is WorkerState.ERROR:
            self._brief.update(safe(event.worker.error))

    def _show(self, entries: Sequence[StudyEntry]) -> None:
        self._entries = {entry.folder.name if entry.folder else f"ready {entry.name}": entry for entry in entries}
        look = self._table.look(self.workspace.now())
        self._table.show(list(self._entries), list_columns(entries, look))
        made = sum(entry.folder is not None for entry in entries)
        self._panel.border_subtitle = f"{made} in the logs, {len(entries) - made} ready to start"
        self._moved()

    @property
    def _entry(self) -> StudyEntry | None:
        return self._entries.get(self._table.key or "")

    @on(DataTable.RowHighlighted)
    def _moved(self) -> None:
        entry = self._entry
        self._brief.update(entry_brief(entry, self._table.look(self.workspace.now())) if entry else "", layout=False)
        self.refresh_bindings()

    @on(DataTable.RowSelected)
    def action_open(self) -> None:
        entry = self._entry
        if entry is None:
            return
        if entry.folder is not None and entry.study is not None:
            self.post_message(StudyRequested(entry.folder))
        elif entry.folder is not None or entry.study is None:
            self.notify(safe(entry.problem), severity="warning", markup=False)
        else:
            start(self, entry.study)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Only the actions that apply to the selected study."""
        entry = self._entry
        match action:
            case "stop":
                return entry is not None and entry.status == "running"
            case "resume":
                return entry is not None and entry.status == "unfinished"
            case _:
                return True

    def action_stop(self) -> None:
        if (entry := self._entry) and entry.folder:
            stop(self, entry.folder)

    def action_resume(self) -> None:
        if (entry := self._entry) and entry.folder:
            resume(self, entry.folder)

    def action_copy(self) -> None:
        if entry := self._entry:
            name = entry.folder.name if entry.folder else entry.name
            self.post_message(CopyRequested(f"torchdeck study {name}", "the command"))


@cache
def _declared_named(name: str) -> StudyEntry:
    try:
        return StudyEntry(name, load_declaration(name), None, "ready")
    except TorchdeckError as error:
        return StudyEntry(name, None, None, "unreadable", str(error))


def _declared() -> list[StudyEntry]:
    return [_declared_named(name) for name in study_names()]
