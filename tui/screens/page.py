"""The base class of all pages: header and footer, updates from the active run, and a tick per second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from textual.app import ComposeResult
from textual.events import ScreenResume
from textual.screen import Screen
from textual.widgets import Static

from ...core.devices.rank_devices import combine_samples, device_text, rank_devices
from ...core.events import RunEvent
from ..state.messages import Mode, ModeRequested
from ..state.workspace import Workspace
from ..widgets.cached_render import Pane
from ..widgets.key_bar import KeyBar
from ..widgets.nav_bar import NavBar


@runtime_checkable
class ReusesSettings(Protocol):
    """A page that can copy a run's settings into its form."""

    def reuse(self, preset: str, config: dict[str, Any]) -> None:
        """Show the settings as changes of that preset."""
        ...


class Page(Screen[None]):
    """A page of the app; a subclass composes its body."""

    MODE: ClassVar[Mode]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.ready = False
        """Whether all widgets of the page are mounted."""
        self._theme = ""  # when the page was last shown
        self._offered: list[bool] = []

    def compose(self) -> ComposeResult:
        yield NavBar(self.MODE)
        with Pane(id="body"):
            yield from self.body()
        yield Static("too small: make the terminal at least 40x10", id="too-small", markup=False)
        yield KeyBar()

    def body(self) -> ComposeResult:
        """The widgets between header and footer."""
        raise NotImplementedError  # pragma: no cover

    def on_mount(self) -> None:
        self.ready = True
        self._activate()

    def on_screen_resume(self, event: ScreenResume) -> None:
        # All widgets were styled when they were mounted; Textual would style them again each time the page is shown.
        event.refresh_styles = self._theme not in ("", self.app.theme)
        self._theme = self.app.theme
        # The first time, this may happen before the page is mounted.
        if self.ready:
            self._activate()

    def on_descendant_focus(self) -> None:
        self._mark_panels()

    def on_descendant_blur(self) -> None:
        self._mark_panels()

    def _mark_panels(self) -> None:
        """Highlight the panel that has the focus; `:focus-within` would style all its widgets again at every step."""
        for panel in self.query(".panel"):
            focused = panel.has_focus_within
            if panel.has_class("-focused") != focused:
                panel.set_class(focused, "-focused", update=False)
                self.app.stylesheet.update_nodes([panel])

    def _activate(self) -> None:
        self.activate()
        self.show_state()

    def activate(self) -> None:
        """The page is shown now: bring it up to date."""

    def receive(self, events: Sequence[RunEvent]) -> None:
        """Take in new events of the active run; called for the visible page only."""

    def tick(self) -> None:
        """Called about once a second while the page is visible."""

    def offers(self, action: str) -> bool:  # noqa: ARG002 - for subclasses
        """Whether an action of this page would do anything now; the footer and the help leave out the others."""
        return True

    def show_state(self) -> None:
        """Update header and footer; called a few times a second while the page is visible."""
        self._show_device()
        offered = [self.offers(binding.action) for _, binding in self._bindings]
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def _show_device(self) -> None:
        feed = self.workspace.feed
        started = feed.record.started if feed else None
        sample = combine_samples(feed.record.devices, rank_devices(started) if started else ()) if feed else None
        active = feed is not None and not feed.over
        self.query_one(NavBar).show(active, device_text(started) if started else "", sample)

    def on_nav_bar_clicked(self, message: NavBar.Clicked) -> None:
        self.post_message(ModeRequested(message.mode))  # pyright: ignore[reportArgumentType]
