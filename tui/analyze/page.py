"""The Analyze page: confusion matrix, metrics of each class, first-layer filters, and misclassified images of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ...core.events import EpochCompleted, RunEvent, RunStarted
from ...core.results.class_metrics import Confusion
from ...core.results.predictions import matrix_of
from ...core.runs.index import RunRow, read_row
from ...core.runs.record import RunRecord
from ..charts.half_blocks import shorten
from ..screens.page import Page
from ..state.messages import CopyRequested
from ..state.workspace import Workspace
from .cell_panel import CellPanel
from .class_table import ClassTable
from .filter_grid import FilterGrid
from .heat_map import HeatMap
from .mistakes import Mistakes
from .text import NO_RUNS, label_of, tab_separated, why_no_matrix

View = Literal["matrix", "classes", "filters", "images"]
VIEWS: tuple[View, ...] = ("matrix", "classes", "filters", "images")
PANELS: dict[View, type[Widget]] = {
    "matrix": HeatMap,
    "classes": ClassTable,
    "filters": FilterGrid,
    "images": Mistakes,
}
FILES = ("predictions.safetensors", "filters.safetensors")


class AnalyzePage(Page):
    """Shows the run `workspace.chosen`, else the newest that has a confusion matrix."""

    MODE = "analyze"
    AUTO_FOCUS = ""  # the panel of the current view gets the focus, once it has content
    BINDINGS = [  # noqa: RUF012
        Binding("left_square_bracket", "go(-1)", "Run", key_display="[ ]", id="analyze.run-before"),
        Binding("right_square_bracket", "go(1)", "Next run", show=False, id="analyze.run-after"),
        Binding("v", "next_view", "View", id="analyze.view"),
        Binding("enter", "images", "Images", id="analyze.images"),
        Binding("escape", "matrix", "Matrix", id="analyze.matrix"),
        Binding("k", "copy", "Copy", id="analyze.copy"),
        Binding("n", "next_worst", "Next worst", show=False, id="analyze.next-worst"),
        Binding("p", "toggle_percent", "Count/%", show=False, id="analyze.percent"),
        Binding("w", "most_wrong", "Most confidently wrong", show=False, id="analyze.most-wrong"),
        Binding("N", "normalize", "Scale filters individually or together", show=False, id="analyze.normalize"),
    ]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._view: View = "matrix"
        self._run_id: str | None = None
        self._label = ""
        self._stamp: object = None
        self._matrix: tuple[Confusion, Sequence[str]] | None = None

    def body(self) -> ComposeResult:
        yield Static(NO_RUNS, id="no-matrix", markup=False)
        with Container(id="analyze", classes="-matrix"):
            with Vertical(id="analyze-left"):
                yield HeatMap(id="confusion")
                yield Mistakes(id="mistakes")
            with Vertical(id="analyze-right"):
                yield CellPanel(id="cell")
                yield ClassTable(id="classes")
                yield FilterGrid(id="filters")

    def on_mount(self) -> None:
        self.screen_layout_refresh_signal.subscribe(self, self._set_title)

    # What it shows

    def activate(self) -> None:
        self._update()

    def tick(self) -> None:
        self._update()

    def receive(self, events: Sequence[RunEvent]) -> None:
        if any(isinstance(event, EpochCompleted | RunStarted) for event in events):
            self._update()

    def on_resize(self) -> None:
        """Switch to a view that this size has."""
        self.call_after_refresh(self._ensure_view)

    def _update(self) -> None:
        """Update the page if the run, or the saved files of its best epoch, changed."""
        self._run_id = self.workspace.chosen or self._newest()
        if self._run_id is None:
            self._show_message(NO_RUNS)
            return
        folder, record = self.workspace.logs / self._run_id, self.workspace.record(self._run_id)
        best = record.best
        kept = [_changed(folder / name) for name in FILES]
        stamp = (self._run_id, record.status, record.stage, record.attempt, best.step if best else None, *kept)
        if stamp != self._stamp:
            self._stamp = stamp
            self._show(self._run_id, folder, record)

    def _newest(self) -> str | None:
        return next((row.id for row in reversed(self.workspace.rows()) if self._has_matrix(row)), None)

    def _has_matrix(self, row: RunRow) -> bool:
        feed = self.workspace.feed
        if feed and feed.record.started and feed.record.started.run_id == row.id:
            return matrix_of(feed.record) is not None
        return bool(row.summary.get("confusion"))

    def _show_message(self, text: str) -> None:
        """Show a text instead of the panels."""
        self._stamp = self._matrix = None
        self.query_one("#no-matrix", Static).update(text)
        self.set_focus(None)
        self._switch(False)

    def _switch(self, panels: bool) -> None:
        self.query_one("#analyze").display = panels
        self.query_one("#no-matrix").display = not panels
        self.refresh_bindings()

    def _show(self, run_id: str, folder: Path, record: RunRecord) -> None:
        matrix = matrix_of(record)
        if matrix is None:
            self._show_message(why_no_matrix(run_id, record))
            return
        first = self._matrix is None
        self._matrix, self._label = matrix, label_of(run_id, record)
        self._switch(True)
        self.query_one(ClassTable).show(*matrix)
        self.query_one(CellPanel).show(*matrix)
        self.query_one(FilterGrid).open(folder, record)
        heat_map = self.query_one(HeatMap)
        heat_map.show(*matrix)
        self.query_one(Mistakes).open(folder, read_row(folder).header, self.workspace.data, matrix[1], record)
        self._point(*heat_map.cursor)
        if first:
            self.call_after_refresh(self._ensure_view)

    def on_heat_map_moved(self, message: HeatMap.Moved) -> None:
        """Show the cell under the cursor in the other panels."""
        self._point(message.true_index, message.predicted_index)

    def _point(self, true: int, predicted: int) -> None:
        self.query_one(CellPanel).point(true, predicted, self.query_one(HeatMap).sentence())
        self.query_one(ClassTable).highlight(true)
        self.query_one(Mistakes).point(true, predicted)

    # Views

    def _views(self) -> tuple[View, ...]:
        """The views of this size: panels that do not fit beside the matrix have their own view."""
        if self.has_class("-narrow"):
            return VIEWS
        if self.has_class("-wide") and self.has_class("-vast"):
            return ("matrix",)
        return ("matrix", "images") if not self.has_class("-short") else ("matrix", "filters", "images")

    def _go_to(self, view: View) -> None:
        self._view = view
        panels = self.query_one("#analyze")
        for each in VIEWS:
            panels.set_class(each == view, f"-{each}")
        self.call_after_refresh(self._ensure_view)

    def _ensure_view(self) -> None:
        """Ensure that the view exists at this size, that a visible panel has the focus, and that the title fits."""
        if self._matrix is None:
            return
        if self._view not in self._views():
            self._go_to("matrix")
            return
        if self.focused is None or not _is_displayed(self.focused):
            panel = self.query_one(PANELS[self._view])
            self.set_focus(panel if panel.focusable else None)
        self._set_title()
        self.refresh_bindings()

    def _set_title(self, _: object = None) -> None:
        """Put the run's name into the title of the matrix, cut to its width."""
        heat_map = self.query_one(HeatMap)
        label = shorten(self._label, max(0, heat_map.outer_size.width - 16), self.app.has_class("-ascii"))
        title = Content("Confusion  ").append(Content(label))
        if heat_map.border_title != title.markup:
            heat_map.border_title = title

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only the actions that have an effect now."""
        match action:
            case "next_view":
                return self._matrix is not None and len(self._views()) > 1
            case "images":
                return self._matrix is not None and isinstance(self.focused, HeatMap)
            case "matrix":
                return self._matrix is not None and not isinstance(self.focused, HeatMap)
            case "copy" | "next_worst" | "most_wrong" | "toggle_percent" | "normalize":
                return self._matrix is not None
            case _:
                return super().check_action(action, parameters)

    # Keys

    def action_go(self, step: int) -> None:
        """Show the previous or next run with a matrix."""
        rows = self.workspace.rows()
        place = next((place for place, row in enumerate(rows) if row.id == self._run_id), len(rows))
        others = reversed(rows[:place]) if step < 0 else rows[place + 1 :]
        found = next((row.id for row in others if self._has_matrix(row)), None)
        if found is None:
            self.notify(f"no {'earlier' if step < 0 else 'later'} run has a confusion matrix", timeout=2)
            return
        self.workspace.chosen = found
        self._update()

    def action_next_view(self) -> None:
        """Switch to the next view."""
        views = self._views()
        self._go_to(views[(views.index(self._view) + 1) % len(views)] if self._view in views else views[0])

    def action_images(self) -> None:
        """Focus the images of the selected cell."""
        if "images" in self._views():
            self._go_to("images")
        self.call_after_refresh(self.query_one(Mistakes).focus)

    def action_matrix(self) -> None:
        """Focus the matrix."""
        heat_map = self.query_one(HeatMap)
        if not _is_displayed(heat_map):
            self._go_to("matrix")
        self.call_after_refresh(heat_map.focus)

    def action_next_worst(self) -> None:
        """Select the next most frequent mistake."""
        self.query_one(HeatMap).action_next_worst()

    def action_toggle_percent(self) -> None:
        """Toggle between counts and percentages."""
        self.query_one(HeatMap).action_toggle_percent()

    def action_normalize(self) -> None:
        """Toggle between scaling filters individually and together."""
        self.query_one(FilterGrid).toggle()

    def action_most_wrong(self) -> None:
        """Show the images of all cells that are most confidently wrong, until the matrix cursor moves."""
        self.query_one(Mistakes).most_wrong()
        self.action_images()

    def action_copy(self) -> None:
        """Copy the class table and the matrix, or the names of the images if they have the focus."""
        mistakes = self.query_one(Mistakes)
        if self.focused is mistakes and (text := mistakes.copy_text()):
            self.post_message(CopyRequested(text, f"the names of {len(mistakes.indices):,} images"))
        elif self._matrix:
            self.post_message(CopyRequested(tab_separated(*self._matrix), "the class table with the matrix"))


def _is_displayed(widget: Widget) -> bool:
    """Whether a widget and all its ancestors are displayed."""
    return all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget))


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
