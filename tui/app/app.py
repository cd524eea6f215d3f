"""The app: five pages over one workspace, and the one training that may be in hand."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding
from textual.driver import Driver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from ...core.config import ranks_of
from ...core.control import CommandName
from ...core.errors import TorchdeckError
from ...core.events import RunEvent
from ..format.values import safe
from ..screens.dialogs import Ask, how_to_leave, how_to_stop
from ..screens.help import Help
from ..screens.page import Page, Reuses
from ..state.feed import Feed
from ..state.messages import (
    CommandRequested,
    CopyRequested,
    HandOverRequested,
    LeaveRequested,
    Mode,
    ModeRequested,
    ResumeRequested,
    ReuseRequested,
    StartRequested,
    StopRequested,
    StudyRequested,
    WatchRequested,
)
from ..state.open_feed import detached, resumed, started, watched
from ..state.refresh_rates import Refresh
from ..state.workspace import Workspace
from ..terminal.ascii_filter import AsciiOnly
from ..terminal.captured_output import CapturedOutput
from ..terminal.clipboard import copy
from ..terminal.messages import TerminalDrained, TerminalLost
from .crash_message import apology
from .pages import PAGES, make_page
from .style_cache import StyledOnce
from .theme import CYCLE, THEMES, variables_for
from .toasts import toast_of


class Torchdeck(StyledOnce):
    """The cockpit."""

    TITLE = "torchdeck"
    CSS_PATH = Path(__file__).parent / "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (40, "-narrow"), (100, "-mid"), (170, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (10, "-short"), (34, "-tall"), (52, "-vast")]  # noqa: RUF012
    BINDINGS = [  # noqa: RUF012
        Binding("1", "show('setup')", "Setup", show=False, id="app.setup"),
        Binding("2", "show('live')", "Live", show=False, id="app.live"),
        Binding("3", "show('runs')", "Runs", show=False, id="app.runs"),
        Binding("4", "show('compare')", "Compare", show=False, id="app.compare"),
        Binding("5", "show('analyze')", "Analyze", show=False, id="app.analyze"),
        Binding("d", "next_theme", "Theme", show=False, id="app.theme"),
        Binding("question_mark,f1", "help", "Help", key_display="?", id="app.help"),
        # Textual's own ctrl+q comes first in the footer, so it stands for nothing there.
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit"),
        Binding("q", "leave", "Quit", id="app.leave"),
    ]

    def __init__(
        self,
        workspace: Workspace,
        *,
        refresh: Refresh,
        ascii_only: bool = False,
        captured: CapturedOutput | None = None,
        page: Mode = "setup",
        watch: Path | None = None,
        driver_class: type[Driver] | None = None,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(driver_class)
        self._first, self._watch = page, watch
        self.workspace = workspace
        self.rates = refresh
        self.captured_output = captured or CapturedOutput()
        self.lets_go = False
        """Whether the app left a run behind that trains to its end without it."""
        self._leaving: int | None = None
        self._beats, self._for_good, self._on_failure = 0, False, on_failure
        self._last_ended: Feed | None = None
        self.set_class(ascii_only, "-ascii")
        for own in THEMES:
            self.register_theme(own)
        self._choose_theme(workspace.state.text("theme", CYCLE[0]))
        self.begin_with_theme()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return variables_for(self.get_theme(self.theme))

    def get_line_filters(self) -> Sequence[LineFilter]:
        own = [AsciiOnly()] if self.has_class("-ascii") else []
        return [*super().get_line_filters(), *own]

    def on_mount(self) -> None:
        for mode in PAGES:
            self.add_mode(mode, partial(make_page, mode, self.workspace, self.rates, self.captured_output))
        self.switch_mode(self._first)
        if self._watch:
            self._take_up(watched(self._watch))
        self.set_interval(self.rates.bars, self._beat)
        self.begin_capture_print(self)

    def on_ready(self) -> None:
        """The first frame is out: look for garbage again, less what was imported."""
        if not gc.isenabled():
            gc.freeze()
            gc.enable()

    # -- pages

    def action_show(self, mode: Mode) -> None:
        """Show a page; from one that stands above it, go back to it."""
        if not isinstance(self._top(), Page):
            return
        if self.current_mode == mode:
            self._back_to_the_mode()
        else:
            self.switch_mode(mode)

    def on_mode_requested(self, message: ModeRequested) -> None:
        self.action_show(message.mode)

    def _back_to_the_mode(self) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()

    async def action_back(self) -> None:
        """Close the page that stands above another."""
        if len(self.screen_stack) > 1 and isinstance(self.screen, Page):
            self.pop_screen()

    def _list_studies(self) -> None:
        self.post_message(StudyRequested(None))

    async def on_study_requested(self, message: StudyRequested) -> None:
        from ..studies.list_page import StudiesPage  # tables, charts and declarations, 0.2 s
        from ..studies.page import StudyPage

        folder = message.folder
        await self._above_runs(StudyPage(self.workspace, folder) if folder else StudiesPage(self.workspace))

    async def _above_runs(self, page: Page) -> None:
        """Show a page that is none of the five; escape goes back to what is below it."""
        if self.current_mode != "runs":
            await self.switch_mode("runs")
            self._back_to_the_mode()
        await self.push_screen(page)

    async def on_reuse_requested(self, message: ReuseRequested) -> None:
        await self.switch_mode("setup")
        if isinstance(self.screen, Reuses):
            self.screen.reuse(message.preset, message.config)

    def action_help(self) -> None:
        """Show the keys of this page."""
        self.push_screen(Help(self.screen.active_bindings))

    def action_next_theme(self) -> None:
        """Go to the next theme of the app's own."""
        place = CYCLE.index(self.theme) if self.theme in CYCLE else -1
        self._choose_theme(CYCLE[(place + 1) % len(CYCLE)])

    def _choose_theme(self, name: str) -> None:
        # Without colour, Textual's ANSI themes come out black on black.
        plain = self.no_color and name.startswith("ansi")
        self.theme = name if name in self.available_themes and not plain else CYCLE[0]

    def watch_theme(self, name: str) -> None:
        self.workspace.state.keep("theme", name)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for number, (mode, (_, _, what)) in enumerate(PAGES.items(), start=1):
            yield SystemCommand(f"Show {mode}", f"{what} (key {number})", partial(self.action_show, mode))
        yield SystemCommand("Show studies", "many runs, one result (key S in Runs)", self._list_studies)
        if self.workspace.training:
            yield SystemCommand("Stop the run", "with a checkpoint", lambda: self.post_message(StopRequested()))
            words = "to a process of its own that outlives the app"
            yield SystemCommand("Hand the run over", words, lambda: self.post_message(HandOverRequested()))

    # -- training

    def on_start_requested(self, message: StartRequested) -> None:
        begin = detached if message.detached or ranks_of(message.config) > 1 else started
        if self._refused():
            return
        try:
            self._feed(begin(message.config, message.label, self.workspace))
        except TorchdeckError as error:
            self._tell(error)

    def on_resume_requested(self, message: ResumeRequested) -> None:
        if not self._refused():
            self._feed(resumed(message.folder, self.workspace))

    def on_watch_requested(self, message: WatchRequested) -> None:
        if not self._refused():
            self._feed(watched(message.folder))

    def _refused(self) -> bool:
        if self.workspace.training:
            self.notify("A run is active: stop it first, or wait for its end.", severity="warning")
        return self.workspace.training

    def _feed(self, feed: Feed) -> None:
        self._take_up(feed)
        self.action_show("live")

    def _take_up(self, feed: Feed) -> None:
        if self.workspace.feed:
            self.workspace.feed.leave()
        self.workspace.feed = feed
        self.run_worker(feed.iterate, name="run", group="run", thread=True, exit_on_error=False)

    def _beat(self) -> None:
        """All that is brought up to date by itself, in one frame; what may be a second old once a second."""
        self._pump()
        self._beats += 1
        if self._beats % max(1, round(1 / self.rates.bars)) == 0:
            self._tick()

    def _pump(self) -> None:
        """Take in what the training said since the last time."""
        feed = self.workspace.feed
        if feed is None:
            return
        said = feed.drain()
        for event in said:
            self._announce(event, feed)
        if page := self._page():
            if said:
                page.told(said)
            page.show_device()
        if feed.hand_over and (trouble := feed.hand_over.trouble()):
            # The other process could not take the run, so nobody leaves who need not.
            self._leaving = self._leaving if self._for_good else None
            self.notify(safe(trouble), title="the run stays here", severity="error", timeout=20, markup=False)
        # The last word may be drained a moment before the thread is through.
        if feed.over and feed is not self._last_ended:
            self._last_ended = feed
            self._ended()

    def _ended(self) -> None:
        """The run in hand is over, here at least: leave if that was waited for, follow it where it went on."""
        feed = self.workspace.feed
        if self._leaving is not None:
            self._leave(0 if feed and feed.went_to else self._leaving)
        elif feed and (folder := feed.went_to):
            self._take_up(watched(folder))
        elif page := self._page():
            page.tick()

    def _announce(self, event: RunEvent, feed: Feed) -> None:
        """A toast for failures and ends."""
        if toast := toast_of(event, feed):
            if toast.severity == "error":
                self.bell()
            self.notify(toast.text, title=toast.title, severity=toast.severity, timeout=toast.seconds, markup=False)

    def _tick(self) -> None:
        if page := self._page():
            page.tick()

    def _page(self) -> Page | None:
        """The page in view; None while it is being made, or under a dialog."""
        page = self._top()
        return page if isinstance(page, Page) and page.ready else None

    def _top(self) -> Screen[object] | None:
        """The screen in view; None once the app closes."""
        return self.screen if self.is_running else None

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            self.notify(safe(event.worker.error), title="failed", severity="error", timeout=20, markup=False)

    def on_print(self, event: events.Print) -> None:
        self.captured_output.add(event.text)

    # -- stopping and leaving

    def on_stop_requested(self, _: StopRequested) -> None:
        feed = self.workspace.feed
        if feed is None or feed.over:
            return
        self.push_screen(how_to_stop(), self._stop)

    def _stop(self, answer: str | None) -> None:
        feed = self.workspace.feed
        if feed and answer:
            self._ask(feed, "stop-after-epoch" if answer == "epoch" else "stop")

    def on_command_requested(self, message: CommandRequested) -> None:
        if self.workspace.feed and not self.workspace.feed.over:
            self._ask(self.workspace.feed, message.command)

    def _ask(self, feed: Feed, command: CommandName) -> None:
        try:
            feed.ask(command)
        except TorchdeckError as error:
            self._tell(error)

    def _tell(self, error: TorchdeckError) -> None:
        self.notify(safe(error), severity="error", markup=False)

    async def action_leave(self) -> None:
        """Leave as ctrl+q does."""
        await self.action_quit()

    async def action_quit(self) -> None:
        """Leave; with a run in hand, ask first."""
        if isinstance(self.screen, Ask):
            return
        if not self.workspace.training:
            self._leave(0)
            return
        self.push_screen(how_to_leave(), self._quit_answered)

    def _quit_answered(self, answer: str | None) -> None:
        if answer == "hand-over":
            self._hand_over(0)
        elif answer and self.workspace.feed:
            self.workspace.feed.ask("stop", "the app was left")
            self._leave_after_the_run(0)

    def on_hand_over_requested(self, _: HandOverRequested) -> None:
        if self.workspace.training:
            self._hand_over()
        elif self.workspace.feed and not self.workspace.feed.over:
            self.notify("This run is in another process already.")

    def _hand_over(self, code: int | None = None) -> None:
        """Let a process of its own go on with the run; with a code, leave as soon as it has it."""
        feed = self.workspace.feed
        if code is not None:
            self._leaving = code
        if feed and feed.hand_over:
            feed.hand_over.ask()
            self.notify("The run goes on here until a process of its own is ready.", title="handing over", timeout=5)

    def _leave_after_the_run(self, code: int) -> None:
        """Leave as soon as the last event of a run that was asked to end is on disk."""
        if self.workspace.training:
            self._leaving = code
        else:
            self._leave(code)

    def _leave(self, code: int) -> None:
        if self.workspace.feed:
            self.workspace.feed.leave()
        self.exit(return_code=code)

    def on_leave_requested(self, message: LeaveRequested) -> None:
        """A signal asked the run to end already; leave after it."""
        self._for_good = True
        self._leave_after_the_run(message.code)

    def on_terminal_lost(self, _: TerminalLost) -> None:
        """A terminal that is gone is a hang-up; where those are ignored, the run goes on without the app."""
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.raise_signal(signal.SIGHUP)
            return
        self.lets_go = True
        self._leave(0)

    def on_terminal_drained(self, _: TerminalDrained) -> None:
        self.refresh(layout=True)

    def on_unmount(self) -> None:
        """However the app ends, its run ends with it, with a checkpoint; the process waits for that."""
        if self.workspace.training and self.workspace.feed and not self.lets_go:
            self.workspace.feed.ask("stop", "the app failed" if self.return_code else "the app ended")
            self._on_failure()

    def _fatal_error(self) -> None:
        """Tell of a mistake of ours in a few words: Textual's own page shows the values of variables."""
        self.bell()
        self.panic(apology(self._exception, self.workspace.training))

    def on_copy_requested(self, message: CopyRequested) -> None:
        copy(self, message.text)
        self.notify(f"{message.what} is on the clipboard", timeout=3, markup=False)
