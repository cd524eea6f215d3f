"""What the five pages have in common: the lines at the top and the bottom, and being told of what the training says."""

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
class Reuses(Protocol):
    """A page that can take a run's settings into its form."""

    def reuse(self, preset: str, config: dict[str, Any]) -> None:
        """Show the settings as changes of that preset."""
        ...


class Page(Screen[None]):
    """One of the five; a subclass gives its body."""

    MODE: ClassVar[Mode]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.ready = False
        """Whether all that stands on the page is there."""
        self._theme = ""  # that it was last up in

    def compose(self) -> ComposeResult:
        yield NavBar(self.MODE)
        with Pane(id="body"):
            yield from self.body()
        yield Static("too small: make the terminal at least 40x10", id="too-small", markup=False)
        yield KeyBar()

    def body(self) -> ComposeResult:
        """What stands between the lines at the top and the bottom."""
        raise NotImplementedError  # pragma: no cover

    def on_mount(self) -> None:
        self.ready = True
        self._come_up()

    def on_screen_resume(self, event: ScreenResume) -> None:
        # All on it had its style when it was mounted; Textual would apply it anew each time the page comes up.
        event.refresh_styles = self._theme not in ("", self.app.theme)
        self._theme = self.app.theme
        # The first time, this may come before the page is made.
        if self.ready:
            self._come_up()

    def on_descendant_focus(self) -> None:
        self._mark_panels()

    def on_descendant_blur(self) -> None:
        self._mark_panels()

    def _mark_panels(self) -> None:
        """Frame the panel that has the focus; by `:focus-within`, each step in it would style all it holds anew."""
        for panel in self.query(".panel"):
            focused = panel.has_focus_within
            if panel.has_class("-focused") != focused:
                panel.set_class(focused, "-focused", update=False)
                self.app.stylesheet.update_nodes([panel])

    def _come_up(self) -> None:
        self.shown()
        self.show_device()

    def shown(self) -> None:
        """The page came up; bring it up to date."""

    def told(self, events: Sequence[RunEvent]) -> None:
        """The training in hand said something; called for the visible page only."""

    def tick(self) -> None:
        """About once a second while the page is visible."""

    def show_device(self) -> None:
        """Bring the line at the top up to date."""
        feed = self.workspace.feed
        started = feed.record.started if feed else None
        sample = combine_samples(feed.record.devices, rank_devices(started) if started else ()) if feed else None
        active = feed is not None and not feed.over
        self.query_one(NavBar).show(active, device_text(started) if started else "", sample)

    def on_nav_bar_clicked(self, message: NavBar.Clicked) -> None:
        self.post_message(ModeRequested(message.mode))  # pyright: ignore[reportArgumentType]
