"""The footer: keys and what they do. Textual's own makes a widget per key, all again with every change of focus."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.screen import Screen
from textual.strip import Strip

from .styled_parts import StyledParts


class KeyLabel(NamedTuple):
    """A key in the footer; it covers the cells from `start` up to `end`."""

    key: str
    label: str
    description: str
    enabled: bool
    start: int

    @property
    def end(self) -> int:
        return self.start + cell_len(self.label) + 1 + cell_len(self.description)


class KeyBar(StyledParts):
    """Shows the active bindings; a click presses a key."""

    PARTS = "key-bar"
    COMPONENT_CLASSES = {"key-bar--key", "key-bar--off", "key-bar--hover"}  # noqa: RUF012
    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $panel; color: $foreground; }
    .key-bar--key { color: $accent; text-style: bold; }
    .key-bar--off { text-style: dim; }
    .key-bar--hover { background: $block-hover-background; }
    """
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[KeyLabel] = []
        self._hovered: str | None = None

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._update)

    def _update(self, screen: Screen[object]) -> None:
        """Show the first key of each action that the screen offers."""
        keys: dict[str, KeyLabel] = {}
        start = 0
        for _, binding, enabled, _ in screen.active_bindings.values():
            if binding.show and binding.action not in keys:
                label = self.app.get_key_display(binding)
                keys[binding.action] = shown = KeyLabel(binding.key, label, binding.description, enabled, start)
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
            elif shown.key == self._hovered:
                line.stylize(self._ink("hover"), start)
            line.append(" ")
        return self._strip(line)

    def _key_at(self, x: int) -> KeyLabel | None:
        return next((shown for shown in self.keys if shown.start <= x < shown.end), None)

    def _hover(self, shown: KeyLabel | None) -> None:
        under = shown.key if shown else None
        if under != self._hovered:
            self._hovered = under
            self.styles.pointer = "pointer" if under else "default"
            self.refresh()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._hover(self._key_at(event.x))

    def on_leave(self) -> None:
        self._hover(None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if shown := self._key_at(event.x):
            self.app.simulate_key(shown.key) if shown.enabled else self.app.bell()
