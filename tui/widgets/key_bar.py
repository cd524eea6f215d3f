"""The footer: the keys that work now. Textual's own makes a widget per key, all again with every change of focus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.binding import ActiveBinding
from textual.keys import key_to_character
from textual.screen import Screen
from textual.strip import Strip

from .styled_parts import StyledParts

LAST = ("app.help", "app.leave")
"""Ids of the bindings that stay in view however narrow the footer is."""


@runtime_checkable
class OffersKeys(Protocol):
    """A screen that knows which of its actions make sense now."""

    def offers(self, action: str) -> bool:
        """Whether the action would do anything."""
        ...


def usable_bindings(screen: Screen[object]) -> Iterator[ActiveBinding]:
    """The bindings that work now: those that the screen offers, without keys that would be typed into a field."""
    for key, active in screen.active_bindings.items():
        typed = screen.focused is not None and screen.focused.check_consume_key(key, key_to_character(key))
        offered = (
            not isinstance(screen, OffersKeys) or active.node is not screen or screen.offers(active.binding.action)
        )
        if offered and (active.binding.priority or not typed):
            yield active


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

    def on_resize(self) -> None:
        """Show as many keys as fit now."""
        self._update(self.screen)

    def _update(self, screen: Screen[object]) -> None:
        """Show the first key of each action that works now."""
        shown: dict[str, ActiveBinding] = {}
        for active in usable_bindings(screen):
            if active.binding.show:
                shown.setdefault(active.binding.action, active)
        if self.keys != (found := self._fitted([*shown.values()])):
            self.keys = found
            self.refresh()

    def _fitted(self, shown: list[ActiveBinding]) -> list[KeyLabel]:
        """As many as fit; help and quitting are never left out."""
        labels = self._placed(shown)
        rest = [active for active in shown if active.binding.id not in LAST]
        while rest and labels[-1].end > self.size.width:
            shown.remove(rest.pop())
            labels = self._placed(shown)
        return labels

    def _placed(self, shown: Sequence[ActiveBinding]) -> list[KeyLabel]:
        labels: list[KeyLabel] = []
        for _, binding, enabled, _ in shown:
            start = labels[-1].end + 1 if labels else 0
            label = self.app.get_key_display(binding)
            labels.append(KeyLabel(binding.key, label, binding.description, enabled, start))
        return labels

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
