"""The Live page: the active run's progress, charts, devices and log."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from ...core.devices.rank_devices import name_text, rank_devices
from ...core.events import EpochCompleted, RunCompleted, RunEvent, RunFailed, RunStarted, StepCompleted
from ...core.results.curves import AXES, Axis
from ...core.results.predictions import matrix_of
from ...core.runs.record import READING, RunRecord
from ..charts.run_series import (
    Ghost,
    accuracy_lines,
    accuracy_note,
    loss_lines,
    loss_note,
    memory_lines,
    rate_lines,
    reported_rules,
    speed_lines,
)
from ..format.event_lines import held_text
from ..format.values import safe
from ..screens.page import Page
from ..state.feed import Feed
from ..state.messages import (
    RESUMABLE,
    CommandRequested,
    HandoverRequested,
    ModeRequested,
    ResumeRequested,
    StopRequested,
    StudyRequested,
)
from ..state.refresh_rates import ChartPace, RefreshRates
from ..state.workspace import Workspace
from ..widgets.cached_render import Pane, Row
from ..widgets.chart import Chart
from .class_bars import ClassBars
from .device_panel import DevicePanel
from .log_pane import LogPane
from .progress_bars import ProgressBars
from .ranks_panel import RanksPanel

FIGURES = ("Accuracy", "Classes", "Learning rate", "Speed", "Memory, GiB")
"""What the second chart shows, one after the other."""
COMPACT_RANKS = 2
"""Up to this many devices fit on the smallest terminal; with more, the panel grows."""
NO_RUN = "No active run.\n\nPick a preset in Setup (1) and start it with F5,\nor watch an active run from Runs (3)."


class LivePage(Page):
    """Shows `workspace.feed`."""

    MODE = "live"
    BINDINGS = [  # noqa: RUF012
        Binding("p", "pause", "Pause", id="live.pause"),
        Binding("p", "unpause", "Continue", id="live.unpause"),
        Binding("x", "stop", "Stop", id="live.stop"),
        Binding("h", "hand_over", "Hand over", id="live.hand_over"),
        Binding("R", "resume", "Resume", id="live.resume"),
        Binding("c", "next_figure", "Chart", id="live.figure"),
        Binding(
            "g", "references", "Hide or show the best earlier run and the reported figures", show=False, id="live.g"
        ),
        Binding("C", "checkpoint", "Save a checkpoint now", show=False, id="live.checkpoint"),
        Binding("e", "next_axis", "X axis: steps, epochs, time", show=False, id="live.axis"),
        Binding("l", "zoom_log", "Maximize the log", show=False, id="live.log"),
        Binding("S", "study", "The study of this run, else all studies", show=False, id="live.study"),
        Binding("a", "analyze", "Analyze", id="live.analyze"),
    ]

    def __init__(self, workspace: Workspace, rates: RefreshRates) -> None:
        super().__init__(workspace)
        self._pace = ChartPace(rates)
        self._axis: Axis = "step"
        self._figure = FIGURES[0]
        self._references = True
        self._ghost: tuple[str, Ghost | None] = ("", None)
        self._stale = True

    def body(self) -> ComposeResult:
        yield Static(NO_RUN, id="nothing", markup=False)
        with Pane(id="live"):
            yield Static(id="held", markup=False)
            yield ProgressBars()
            with Pane(id="live-panels"):
                with Pane(id="charts"):
                    yield Chart("Loss", id="loss")
                    yield Chart("Accuracy", percent=True, id="accuracy")
                    yield ClassBars(id="class-bars")
                with Row(id="live-side"):
                    yield DevicePanel(id="device")
                    yield RanksPanel(id="ranks")
                    yield LogPane(id="log")

    def on_mount(self) -> None:
        for chart in self.query(Chart):
            chart.redraw_every = 0.0  # the page itself limits how often they draw
        loss, second = self.query_one("#loss", Chart), self.query_one("#accuracy", Chart)
        loss.share_x(second)
        second.share_x(loss)
        self.query_one(ClassBars).display = False
        self.query_one("#loss").focus()

    def activate(self) -> None:
        self._stale = True
        self.tick()
        self._draw()

    def receive(self, events: Sequence[RunEvent]) -> None:
        self._stale = self._stale or any(isinstance(e, StepCompleted | EpochCompleted | RunStarted) for e in events)
        if any(not isinstance(event, StepCompleted) for event in events):
            self.tick()
            if any(map(_is_turning_point, events)):
                self._draw()
        elif feed := self.workspace.feed:
            self.query_one(ProgressBars).show(feed.record)
            self._show_held(feed.record)
            self._draw_when_due()

    def tick(self) -> None:
        feed = self.workspace.feed
        self.query_one("#nothing").display = feed is None
        self.query_one("#live").display = feed is not None
        if feed is None:
            return
        self.query_one(ProgressBars).show(feed.record)
        self._show_devices(feed)
        self.query_one(LogPane).show(feed)
        self._show_held(feed.record)
        self._draw_when_due()

    def _show_devices(self, feed: Feed) -> None:
        """Show one device with its history, or several with a line each."""
        started = feed.record.started
        found = rank_devices(started) if started else ()
        one, several = self.query_one(DevicePanel), self.query_one(RanksPanel)
        one.display, several.display = len(found) < 2, len(found) > 1
        self.set_class(len(found) > COMPACT_RANKS, "-many-ranks")
        name = name_text(started) if started else ""
        if several.display:
            several.show(name, found, feed.record.devices, feed.samples)
        else:
            one.show(name, list(feed.samples.get(0, ())))

    def _show_held(self, record: RunRecord) -> None:
        """Show a banner while the disk refuses the run's events."""
        banner = self.query_one("#held", Static)
        banner.display = record.held is not None
        if record.held:
            banner.update(
                f"{safe(held_text(record))}. Training continues; free disk space for {safe(str(self.workspace.logs))}"
            )

    def _draw_when_due(self) -> None:
        if self._pace.due:
            self._draw()

    def _draw(self) -> None:
        feed = self.workspace.feed
        if feed is None or not self._stale or not self.is_current:
            return
        self._stale, record = False, feed.record
        if record.steps or record.epochs:  # empty charts draw their first data without delay
            self._pace.drawn()
        self.query_one("#loss", Chart).show(loss_lines(record, self._axis), x_unit=self._axis, note=loss_note(record))
        self._draw_second(feed, self.query_one("#accuracy", Chart))

    def _draw_second(self, feed: Feed, chart: Chart) -> None:
        """Draw the figure that was chosen for the second chart."""
        record, axis = feed.record, self._axis
        match self._figure:
            case "Accuracy":
                ghost = self._ghost_of(record) if self._references else None
                rules = reported_rules(record) if self._references else []
                chart.show(accuracy_lines(record, axis, ghost), rules, x_unit=axis, note=accuracy_note(record, ghost))
            case "Learning rate":
                chart.show(rate_lines(record, axis), x_unit=axis)
            case "Speed":
                chart.show(speed_lines(record, axis), x_unit=axis)
            case "Memory, GiB":
                chart.show(memory_lines(record, axis, list(feed.samples.get(0, ()))), x_unit=axis)
            case _:
                self.query_one(ClassBars).show(record)

    def _ghost_of(self, record: RunRecord) -> Ghost | None:
        """The best earlier run of the same preset; searched once per run."""
        started = record.started
        if started is None:
            return None
        if self._ghost[0] != started.run_id:
            rated = [
                (figure, row.id)
                for row in self.workspace.rows()
                if row.preset == started.preset and row.id != started.run_id and row.status not in ("running", "paused")
                if (figure := row.figure("test/accuracy")) is not None
            ]
            best = max(rated, default=None)
            earlier = self.workspace.record(best[1]) if best else None
            if earlier and earlier.status == READING:
                return None
            self._ghost = (started.run_id, Ghost(best[1], earlier) if best and earlier else None)
        return self._ghost[1]

    def action_stop(self) -> None:
        self.post_message(StopRequested())

    def offers(self, action: str) -> bool:
        """Commands for a run while it is active, and to resume it once it was stopped."""
        feed = self.workspace.feed
        record = feed.record if feed else RunRecord()
        match action:
            case "stop" | "checkpoint" | "pause" | "unpause":
                return feed is not None and not feed.over
            case "hand_over":
                return feed is not None and not feed.over and feed.own
            case "resume":
                return feed is not None and feed.over and record.started is not None and record.status in RESUMABLE
            case "analyze":
                return matrix_of(record) is not None
            case "next_axis" | "zoom_log" | "next_figure" | "references":
                return feed is not None
            case _:
                return True

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A key pauses or continues, whichever applies."""
        if action in ("pause", "unpause"):
            feed = self.workspace.feed
            return (feed is not None and feed.record.status == "paused") == (action == "unpause")
        return super().check_action(action, parameters)

    def action_pause(self) -> None:
        self.post_message(CommandRequested("pause"))

    def action_unpause(self) -> None:
        self.post_message(CommandRequested("unpause"))

    def action_resume(self) -> None:
        """Resume the run that this page shows, once it has ended."""
        if self.offers("resume") and self.workspace.feed and (started := self.workspace.feed.record.started):
            self.post_message(ResumeRequested(self.workspace.logs / started.run_id))

    def action_hand_over(self) -> None:
        """Hand the run over to a background process, so that it outlives the app."""
        self.post_message(HandoverRequested())

    def action_checkpoint(self) -> None:
        self.post_message(CommandRequested("checkpoint"))

    def action_next_axis(self) -> None:
        self._axis = AXES[(AXES.index(self._axis) + 1) % len(AXES)]
        self._redraw()

    def action_next_figure(self) -> None:
        """Show another figure in the second chart."""
        self._figure = FIGURES[(FIGURES.index(self._figure) + 1) % len(FIGURES)]
        chart, bars = self.query_one("#accuracy", Chart), self.query_one(ClassBars)
        bars.display = self._figure == "Classes"
        chart.display = not bars.display
        chart.set_title(self._figure, percent=self._figure == "Accuracy")
        self._redraw()

    def action_references(self) -> None:
        """Hide or show the best earlier run and the reported figures."""
        self._references = not self._references
        self._redraw()

    def _redraw(self) -> None:
        self._stale = True
        self._draw()

    def action_zoom_log(self) -> None:
        if self.maximized is not None:
            self.minimize()
        else:
            self.maximize(self.query_one(LogPane), container=False)

    def action_study(self) -> None:
        started = self.workspace.feed.record.started if self.workspace.feed else None
        folder = self.workspace.study_of(started.run_id) if started else None
        self.post_message(StudyRequested(folder))

    def action_analyze(self) -> None:
        started = self.workspace.feed.record.started if self.workspace.feed else None
        if started:
            self.workspace.chosen = started.run_id
            self.post_message(ModeRequested("analyze"))


def _is_turning_point(event: RunEvent) -> bool:
    """Whether the charts show an event at once, however little time the app may take: the first epoch, and the end."""
    return isinstance(event, RunCompleted | RunFailed) or (isinstance(event, EpochCompleted) and event.epoch == 1)
