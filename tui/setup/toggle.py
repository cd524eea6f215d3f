"""An on/off switch, as editor of a setting."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Toggle(Widget, can_focus=True):
    """On or off, shown by a sign and a word."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "flip", "Turn on or off", show=False)]
    value: reactive[bool] = reactive(False, init=False)

    class Changed(Message):
        """The switch was turned on or off."""

        def __init__(self, value: bool) -> None:
            super().__init__()
            self.value = value

    def __init__(self, value: bool) -> None:
        super().__init__()
        self.set_reactive(Toggle.value, value)

    def render(self) -> Text:
        signs = "[x] on", "[ ] off"
        if not self.app.has_class("-ascii"):
            signs = "✓ on", "✗ off"
        return Text(signs[0] if self.value else signs[1], no_wrap=True)

    def watch_value(self, value: bool) -> None:
        self.post_message(self.Changed(value))

    def action_flip(self) -> None:
        self.value = not self.value

    def on_click(self) -> None:
        self.action_flip()
