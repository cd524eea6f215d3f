"""The line at the bottom: what the keys do here. Textual's own makes a widget for each, all anew with every focus."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.screen import Screen
from textual.strip import Strip

from .styled_parts import Inked


class Shown(NamedTuple):
    """A key as it stands in the line, in cells from `start` to before `end`."""

    key: str
    label: str
    description: str
    enabled: bool
    start: int

    @property
    def end(self) -> int:
        return self.start + cell_len(self.label) + 1 + cell_len(self.description)


class KeyBar(Inked):
    """The keys of the bindings in force that are to be shown; a click presses one."""

    PARTS = "key-bar"
    COMPONENT_CLASSES = {"key-bar--key", "key-bar--off", "key-bar--under"}  # noqa: RUF012
    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $panel; color: $foreground; }
    .key-bar--key { color: $accent; text-style: bold; }
    .key-bar--off { text-style: dim; }
    .key-bar--under { background: $block-hover-background; }
    """
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[Shown] = []
        self._under: str | None = None

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._take)

    def _take(self, screen: Screen[object]) -> None:
        """Show the first key of each action that the screen has now."""
        keys: dict[str, Shown] = {}
        start = 0
        for _, binding, enabled, _ in screen.active_bindings.values():
            if binding.show and binding.action not in keys:
                label = self.app.get_key_display(binding)
                keys[binding.action] = shown = Shown(binding.key, label, binding.description, enabled, start)
                start = shown.end + 1
        if self.keys != (found := [*keys.values()]):
            self.keys = found
            self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - it has one line
        line = Text(no_wrap=True)
        for shown in self.keys:
            start = len(line)
            line.append(shown.label, self._ink("key")).append(f" {shown.description}")
            if not shown.enabled:
                line.stylize(self._ink("off"), start)
            elif shown.key == self._under:
                line.stylize(self._ink("under"), start)
            line.append(" ")
        return self._strip(line)

    def _at(self, x: int) -> Shown | None:
        return next((shown for shown in self.keys if shown.start <= x < shown.end), None)

    def _point_at(self, shown: Shown | None) -> None:
        under = shown.key if shown else None
        if under != self._under:
            self._under = under
            self.styles.pointer = "pointer" if under else "default"
            self.refresh()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._point_at(self._at(event.x))

    def on_leave(self) -> None:
        self._point_at(None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if shown := self._at(event.x):
            self.app.simulate_key(shown.key) if shown.enabled else self.app.bell()
