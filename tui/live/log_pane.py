"""The log of a run: its events as lines, and what libraries printed."""

from __future__ import annotations

from rich.text import Text
from textual.events import Resize
from textual.widgets import RichLog

from ..format.values import time_of_day
from ..state.feed import Feed


class LogPane(RichLog):
    """Shows the newest lines of a feed; follows them until the user scrolls up."""

    DEFAULT_CSS = """
    LogPane { border: round $frame; padding: 0 1; background: $background; scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0; }
    LogPane:focus { border: round $accent; background-tint: $foreground 0%; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, max_lines=2_000, wrap=True, min_width=1, markup=False, auto_scroll=True)
        self.border_title = "Log"
        self._feed: Feed | None = None
        self._shown = self._width = 0

    def on_resize(self, event: Resize) -> None:  # noqa: ARG002 - Textual's form
        """Wrap the lines again; the base class then writes what waited for a size."""
        if self._feed:
            self.show(self._feed)

    def show(self, feed: Feed) -> None:
        """Append the lines that are new since the last call; another feed, or width, clears the pane first."""
        if feed is not self._feed or self.size.width != self._width:
            self.clear()
            self._feed, self._shown, self._width = feed, feed.lines_seen - len(feed.lines), self.size.width
        fresh = min(feed.lines_seen - self._shown, len(feed.lines))
        if not fresh:
            return
        self._shown = feed.lines_seen
        for t, line in list(feed.lines)[-fresh:]:
            self.write(Text().append(f"{time_of_day(t)} ", "dim").append(line))
