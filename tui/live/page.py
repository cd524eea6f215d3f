"""Live: the training in hand, as bars, charts, device figures and lines."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from ...core.devices.rank_devices import name_text, rank_devices
from ...core.events import EpochCompleted, RunEvent, RunStarted, StepCompleted
from ...core.results.curves import AXES, Axis
from ...core.runs.layout import CONSOLE
from ...core.runs.record import READING, RunRecord
from ..charts.run_series import Ghost, accuracy_lines, accuracy_note, loss_lines, loss_note, reported_rules
from ..format.event_lines import held_text
from ..format.values import safe
from ..screens.page import Page
from ..state.feed import Feed
from ..state.messages import CommandRequested, HandOverRequested, ModeRequested, StopRequested, StudyRequested
from ..state.refresh_rates import Pace, Refresh
from ..state.workspace import Workspace
from ..terminal.captured_output import CapturedOutput, append_output
from ..widgets.cached_render import Pane, Row
from ..widgets.chart import Chart
from .device_panel import DevicePanel
from .log_pane import LogPane
from .progress_bars import ProgressBars
from .ranks_panel import RanksPanel

FEW_RANKS = 2
"""As many devices have a line each on the smallest terminal; more get more lines."""
NOTHING = (
    "Nothing trains here.\n\nPick a preset in Setup (1) and start it with F5,\nor watch a running one from Runs (3)."
)


class LivePage(Page):
    """Watches `workspace.feed`."""

    MODE = "live"
    BINDINGS = [  # noqa: RUF012
        Binding("p", "pause", "Pause", id="live.pause"),
        Binding("x", "stop", "Stop", id="live.stop"),
        Binding("h", "hand_over", "Hand over", id="live.hand_over"),
        Binding("c", "checkpoint", "Save a checkpoint now", show=False, id="live.checkpoint"),
        Binding("e", "next_axis", "X axis: steps, epochs, time", show=False, id="live.axis"),
        Binding("l", "zoom_log", "Log over the whole page", show=False, id="live.log"),
        Binding("S", "study", "The study of this run, else all studies", show=False, id="live.study"),
        Binding("a", "analyze", "Analyze this run", show=False, id="live.analyze"),
    ]

    def __init__(self, workspace: Workspace, rates: Refresh, captured: CapturedOutput) -> None:
        super().__init__(workspace)
        self._pace = Pace(rates)
        self._printed = captured
        self._axis: Axis = "step"
        self._ghost: tuple[str, Ghost | None] = ("", None)
        self._stale = True

    def body(self) -> ComposeResult:
        yield Static(NOTHING, id="nothing", markup=False)
        with Pane(id="live"):
            yield Static(id="held", markup=False)
            yield ProgressBars()
            with Pane(id="live-panels"):
                with Pane(id="charts"):
                    yield Chart("Loss", id="loss")
                    yield Chart("Accuracy", percent=True, id="accuracy")
                with Row(id="live-side"):
                    yield DevicePanel(id="device")
                    yield RanksPanel(id="ranks")
                    yield LogPane(id="log")

    def on_mount(self) -> None:
        for chart in self.query(Chart):
            chart.redraw_every = 0.0  # the page shows them news as seldom as it should
        self.query_one("#loss").focus()

    def shown(self) -> None:
        self._stale = True
        self.tick()
        self._draw()

    def told(self, events: Sequence[RunEvent]) -> None:
        self._stale = self._stale or any(isinstance(e, StepCompleted | EpochCompleted | RunStarted) for e in events)
        if any(not isinstance(event, StepCompleted) for event in events):
            self.tick()
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
        self._take_printed()
        self.query_one(ProgressBars).show(feed.record)
        self._show_devices(feed)
        self.query_one(LogPane).show(feed)
        self._show_held(feed.record)
        self._draw_when_due()

    def _show_devices(self, feed: Feed) -> None:
        """One device with what it was in the last minutes, or several side by side."""
        started = feed.record.started
        found = rank_devices(started) if started else ()
        one, several = self.query_one(DevicePanel), self.query_one(RanksPanel)
        one.display, several.display = len(found) < 2, len(found) > 1
        self.set_class(len(found) > FEW_RANKS, "-many-ranks")
        name = name_text(started) if started else ""
        if several.display:
            several.show(name, found, feed.record.devices, feed.samples)
        else:
            one.show(name, list(feed.samples.get(0, ())))

    def _show_held(self, record: RunRecord) -> None:
        """A banner while the disk refuses what the run writes."""
        banner = self.query_one("#held", Static)
        banner.display = record.held is not None
        if record.held:
            banner.update(
                f"{safe(held_text(record))}. Training goes on; free space for {safe(str(self.workspace.logs))}"
            )

    def _take_printed(self) -> None:
        """What libraries printed goes to the log pane and into the run's directory."""
        feed, printed = self.workspace.feed, self._printed.read()
        if feed is None or not printed.strip():
            return
        for line in printed.splitlines():
            feed.say(self.workspace.now(), safe(line))
        if feed.own and feed.record.started:
            append_output(printed, self.workspace.logs / feed.record.started.run_id / CONSOLE)

    def _draw_when_due(self) -> None:
        if self._pace.due:
            self._draw()

    def _draw(self) -> None:
        feed = self.workspace.feed
        if feed is None or not self._stale or not self.is_current:
            return
        self._stale, record = False, feed.record
        if record.steps or record.epochs:  # charts that show nothing yet need not wait for their first data
            self._pace.drawn()
        ghost = self._ghost_of(record)
        loss, accuracy = self.query_one("#loss", Chart), self.query_one("#accuracy", Chart)
        loss.show(loss_lines(record, self._axis), x_unit=self._axis, note=loss_note(record))
        rules = reported_rules(record)
        lines = accuracy_lines(record, self._axis, ghost)
        accuracy.show(lines, rules, x_unit=self._axis, note=accuracy_note(record, ghost))

    def _ghost_of(self, record: RunRecord) -> Ghost | None:
        """The best earlier run of the same preset; looked for once a run."""
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

    def action_pause(self) -> None:
        """Pause, or go on."""
        feed = self.workspace.feed
        if feed:
            self.post_message(CommandRequested("unpause" if feed.record.status == "paused" else "pause"))

    def action_hand_over(self) -> None:
        """Let a process of its own go on with the run, so that it outlives the app."""
        self.post_message(HandOverRequested())

    def action_checkpoint(self) -> None:
        self.post_message(CommandRequested("checkpoint"))

    def action_next_axis(self) -> None:
        self._axis = AXES[(AXES.index(self._axis) + 1) % len(AXES)]
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
