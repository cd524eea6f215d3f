"""The Textual app: five pages over one workspace, and at most one active run."""

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
from ..screens.dialogs import ConfirmDialog, quit_dialog, stop_dialog
from ..screens.help import Help
from ..screens.page import Page, ReusesSettings
from ..state.feed import Feed
from ..state.messages import (
    CommandRequested,
    CopyRequested,
    HandoverRequested,
    Mode,
    ModeRequested,
    QuitRequested,
    ResumeRequested,
    ReuseRequested,
    StartRequested,
    StopRequested,
    StudyRequested,
    WatchRequested,
)
from ..state.open_feed import follow_feed, resume_feed, start_detached_feed, start_feed
from ..state.refresh_rates import RefreshRates
from ..state.workspace import Workspace
from ..terminal.ascii_filter import AsciiOnly
from ..terminal.captured_output import CapturedOutput
from ..terminal.clipboard import copy
from ..terminal.messages import TerminalDrained, TerminalLost
from ..widgets.key_bar import usable_bindings
from .crash_message import crash_message
from .error_boundary import ErrorBoundary
from .pages import PAGES, make_page
from .style_cache import StyleCachingApp
from .theme import CYCLE, THEMES, variables_for
from .toasts import toast_of


class Torchdeck(ErrorBoundary, StyleCachingApp):
    """The app: switches pages, starts and follows runs, and quits."""

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
        Binding("question_mark", "help", "Help", key_display="?", id="app.help"),
        Binding("f1", "help", "Help", id="app.help-in-a-field"),
        # Textual's own ctrl+q comes first in the footer, so it is hidden there.
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit"),
        Binding("q", "leave", "Quit", id="app.leave"),
    ]

    def __init__(
        self,
        workspace: Workspace,
        *,
        refresh: RefreshRates,
        ascii_only: bool = False,
        captured: CapturedOutput | None = None,
        page: Mode = "setup",
        watch: Path | None = None,
        driver_class: type[Driver] | None = None,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(captured or CapturedOutput(), driver_class)
        self._first, self._watch = page, watch
        self.workspace = workspace
        self.rates = refresh
        self.run_outlives_app = False
        """Whether the app was quit while its run trains on to the end."""
        self._quit_code: int | None = None
        self._frames, self._must_quit, self._on_failure = 0, False, on_failure
        self._last_ended: Feed | None = None
        self.set_class(ascii_only, "-ascii")
        for own in THEMES:
            self.register_theme(own)
        self._choose_theme(workspace.preferences.text("theme", CYCLE[0]))
        self.use_initial_theme()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return variables_for(self.get_theme(self.theme))

    def get_line_filters(self) -> Sequence[LineFilter]:
        own = [AsciiOnly()] if self.has_class("-ascii") else []
        return [*super().get_line_filters(), *own]

    def on_mount(self) -> None:
        for mode in PAGES:
            self.add_mode(mode, partial(make_page, mode, self.workspace, self.rates))
        self.switch_mode(self._first)
        if self._watch:
            self._follow(follow_feed(self._watch))
        self.set_interval(self.rates.bars, self._on_frame)
        self.begin_capture_print(self)

    def on_ready(self) -> None:
        """The first frame is drawn: turn the garbage collector on again, excluding all that was imported."""
        if not gc.isenabled():
            gc.freeze()
            gc.enable()

    def action_show(self, mode: Mode) -> None:
        """Show a page, closing any page pushed above it."""
        if not isinstance(self._top(), Page):
            return
        if self.current_mode == mode:
            self._close_pushed_pages()
        else:
            self.switch_mode(mode)

    def on_mode_requested(self, message: ModeRequested) -> None:
        self.action_show(message.mode)

    def _close_pushed_pages(self) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()

    async def action_back(self) -> None:
        """Close a page pushed above another."""
        if len(self.screen_stack) > 1 and isinstance(self.screen, Page):
            self.pop_screen()

    def _list_studies(self) -> None:
        self.post_message(StudyRequested(None))

    async def on_study_requested(self, message: StudyRequested) -> None:
        from ..studies.list_page import StudiesPage  # tables, charts and declarations, 0.2 s
        from ..studies.page import StudyPage

        folder = message.folder
        await self._push_above_runs(StudyPage(self.workspace, folder) if folder else StudiesPage(self.workspace))

    async def _push_above_runs(self, page: Page) -> None:
        """Push a page above Runs; escape closes it."""
        if self.current_mode != "runs":
            await self.switch_mode("runs")
            self._close_pushed_pages()
        await self.push_screen(page)

    async def on_reuse_requested(self, message: ReuseRequested) -> None:
        await self.switch_mode("setup")
        if isinstance(self.screen, ReusesSettings):
            self.screen.reuse(message.preset, message.config)

    def action_help(self) -> None:
        """Show the keys of this page."""
        self.push_screen(Help(usable_bindings(self.screen)))

    def action_next_theme(self) -> None:
        """Go to the next theme of the app's own."""
        place = CYCLE.index(self.theme) if self.theme in CYCLE else -1
        self._choose_theme(CYCLE[(place + 1) % len(CYCLE)])

    def _choose_theme(self, name: str) -> None:
        # Without colour, Textual's ANSI themes draw black on black.
        plain = self.no_color and name.startswith("ansi")
        self.theme = name if name in self.available_themes and not plain else CYCLE[0]

    def watch_theme(self, name: str) -> None:
        self.workspace.preferences.keep("theme", name)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for number, (mode, (_, _, what)) in enumerate(PAGES.items(), start=1):
            yield SystemCommand(f"Show {mode}", f"{what} (key {number})", partial(self.action_show, mode))
        yield SystemCommand("Show studies", "groups of runs with one result (key S in Runs)", self._list_studies)
        if self.workspace.training:
            yield SystemCommand("Stop the run", "with a checkpoint", lambda: self.post_message(StopRequested()))
            words = "to a background process that outlives the app"
            yield SystemCommand("Hand the run over", words, lambda: self.post_message(HandoverRequested()))

    def on_start_requested(self, message: StartRequested) -> None:
        begin = start_detached_feed if message.detached or ranks_of(message.config) > 1 else start_feed
        if self._is_busy():
            return
        try:
            self._start_feed(begin(message.config, message.label, self.workspace))
        except TorchdeckError as error:
            self._notify_error(error)

    def on_resume_requested(self, message: ResumeRequested) -> None:
        if not self._is_busy():
            self._start_feed(resume_feed(message.folder, self.workspace))

    def on_watch_requested(self, message: WatchRequested) -> None:
        if not self._is_busy():
            self._start_feed(follow_feed(message.folder))

    def _is_busy(self) -> bool:
        if self.workspace.training:
            self.notify("A run is active: stop it first, or wait for its end.", severity="warning")
        return self.workspace.training

    def _start_feed(self, feed: Feed) -> None:
        self._follow(feed)
        self.action_show("live")

    def _follow(self, feed: Feed) -> None:
        if self.workspace.feed:
            self.workspace.feed.unfollow()
        self.workspace.feed = feed
        self.run_worker(feed.iterate, name="run", group="run", thread=True, exit_on_error=False)

    def _on_frame(self) -> None:
        """Update what changes by itself: with every frame, or once a second."""
        self._take_events()
        self._frames += 1
        if self._frames % max(1, round(1 / self.rates.bars)) == 0:
            self._tick()

    def _take_events(self) -> None:
        """Take in the active run's new events."""
        feed = self.workspace.feed
        if feed is None:
            return
        new_events = feed.drain()
        for event in new_events:
            self._announce(event, feed)
        if page := self._page():
            if new_events:
                page.receive(new_events)
            page.show_state()
        if feed.handover and (failure := feed.handover.take_failure()):
            # The other process could not take the run, so the app stays unless it must quit.
            self._quit_code = self._quit_code if self._must_quit else None
            self._notify_error(failure, "handover failed", 20)
        if feed.over and feed is not self._last_ended:  # the last event may be drained a moment before the thread ends
            self._last_ended = feed
            self._on_run_ended()

    def _on_run_ended(self) -> None:
        """The active run ended in this process: quit if that was waited for, or follow it in its new process."""
        feed = self.workspace.feed
        if self._quit_code is not None:
            self._quit(0 if feed and feed.handed_over_to else self._quit_code)
        elif feed and (folder := feed.handed_over_to):
            self._follow(follow_feed(folder))
        elif page := self._page():
            page.tick()

    def _announce(self, event: RunEvent, feed: Feed) -> None:
        """Show a toast for failures and completed runs."""
        if toast := toast_of(event, feed):
            if toast.severity == "error":
                self.bell()
            self.notify(toast.text, title=toast.title, severity=toast.severity, timeout=toast.seconds, markup=False)

    def _tick(self) -> None:
        self.workspace.keep_printed(self.captured_output)
        if page := self._page():
            page.tick()
            page.show_state()

    def _page(self) -> Page | None:
        """The visible page; None while it is being mounted, or under a dialog."""
        page = self._top()
        return page if isinstance(page, Page) and page.ready else None

    def _top(self) -> Screen[object] | None:
        """The visible screen; None once the app is closing."""
        return self.screen if self.is_running else None

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            self._notify_error(event.worker.error, "failed", 20)

    def on_print(self, event: events.Print) -> None:
        self.captured_output.add(event.text)

    def on_stop_requested(self, _: StopRequested) -> None:
        feed = self.workspace.feed
        if feed is None or feed.over:
            return
        self.push_screen(stop_dialog(), self._stop_answered)

    def _stop_answered(self, answer: str | None) -> None:
        feed = self.workspace.feed
        if feed and answer:
            self._request(feed, "stop-after-epoch" if answer == "epoch" else "stop")

    def on_command_requested(self, message: CommandRequested) -> None:
        if self.workspace.feed and not self.workspace.feed.over:
            self._request(self.workspace.feed, message.command)

    def _request(self, feed: Feed, command: CommandName) -> None:
        try:
            feed.request(command)
        except TorchdeckError as error:
            self._notify_error(error)

    def _notify_error(self, error: object, title: str = "", timeout: float | None = None) -> None:
        self.notify(safe(error), title=title, severity="error", timeout=timeout, markup=False)

    async def action_leave(self) -> None:
        """Quit, as ctrl+q does."""
        await self.action_quit()

    async def action_quit(self) -> None:
        """Quit; ask first if a run is active."""
        if isinstance(self.screen, ConfirmDialog):
            return
        if not self.workspace.training:
            self._quit(0)
            return
        self.push_screen(quit_dialog(), self._quit_answered)

    def _quit_answered(self, answer: str | None) -> None:
        if answer == "hand-over":
            self._hand_over(0)
        elif answer and self.workspace.feed:
            self.workspace.feed.request("stop", "the app was quit")
            self._quit_after_run(0)

    def on_handover_requested(self, _: HandoverRequested) -> None:
        if self.workspace.training:
            self._hand_over()
        elif self.workspace.feed and not self.workspace.feed.over:
            self.notify("Another process trains this run already.")

    def _hand_over(self, code: int | None = None) -> None:
        """Hand the run over to a background process; with a code, quit as soon as it has taken over."""
        feed = self.workspace.feed
        if code is not None:
            self._quit_code = code
        if feed and feed.handover:
            feed.handover.request()
            self.notify("Training continues here until a background process is ready.", title="handing over", timeout=5)

    def _quit_after_run(self, code: int) -> None:
        """Quit as soon as the last event of a run that was asked to stop is on disk."""
        if self.workspace.training:
            self._quit_code = code
        else:
            self._quit(code)

    def _quit(self, code: int) -> None:
        if self.workspace.feed:
            self.workspace.feed.unfollow()
        self.exit(return_code=code)

    def on_quit_requested(self, message: QuitRequested) -> None:
        """A signal has already asked the run to stop: quit after it."""
        self._must_quit = True
        self._quit_after_run(message.code)

    def on_terminal_lost(self, _: TerminalLost) -> None:
        """A closed terminal counts as SIGHUP; if that is ignored, the run continues without the app."""
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.raise_signal(signal.SIGHUP)
            return
        self.run_outlives_app = True
        self._quit(0)

    def on_terminal_drained(self, _: TerminalDrained) -> None:
        self.refresh(layout=True)

    def on_unmount(self) -> None:
        """However the app ends, its run stops with a checkpoint, and the process waits for that."""
        self.workspace.keep_printed(self.captured_output)
        if self.workspace.training and self.workspace.feed and not self.run_outlives_app:
            self.workspace.feed.request("stop", "the app failed" if self.return_code else "the app ended")
            self._on_failure()

    def _fatal_error(self) -> None:
        """Report an internal error in a few words: Textual's traceback would show the values of variables."""
        self.bell()
        self.panic(crash_message(self._exception, self.workspace.training))

    def on_copy_requested(self, message: CopyRequested) -> None:
        copy(self, message.text)
        self.notify(f"{message.what} is on the clipboard", timeout=3, markup=False)
