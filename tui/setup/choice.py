"""A drop-down choice among texts, as editor of a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import OptionList, Select


class Choice(Widget, can_focus=True):
    """One of several texts; the drop-down list (six widgets) exists only while it is open."""

    DEFAULT_CSS = """
    Choice { height: 1; pointer: pointer; }
    Choice:focus { background-tint: $foreground 5%; }
    Choice > Select { width: 1fr; }
    """
    ALLOW_SELECT = False
    # With priority, so that a key typed while the list opens goes to the list, not to the page.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space,down,up", "open", "Open the list", show=False, priority=True)
    ]
    value: reactive[str] = reactive("", init=False)

    class Changed(Message):
        """Another text was chosen."""

        def __init__(self, value: str) -> None:
            super().__init__()
            self.value = value

    def __init__(self, texts: Sequence[str], value: str) -> None:
        super().__init__()
        self._texts = texts
        self.set_reactive(Choice.value, value)

    def render(self) -> Content:
        room = max(0, self.size.width - 3)
        face = Content(self.value).truncate(room, ellipsis=True).pad_right(max(0, room - len(self.value)))
        return Content.assemble(face, (" ▼", "$foreground 50%"))

    def watch_value(self, value: str) -> None:
        self.post_message(self.Changed(value))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While the list is open, it handles its keys itself."""
        return not self.children if action == "open" else super().check_action(action, parameters)

    async def action_open(self) -> None:
        """Open the list; it is removed when it closes, and its choice is taken."""
        if self.children:
            return
        value = self.value if self.value in self._texts else self._texts[0]
        choices = Select([(text, text) for text in self._texts], value=value, allow_blank=False, compact=True)
        await self.mount(choices)
        choices.expanded = True
        self.screen.set_focus(choices.query_one(OptionList), scroll_visible=False)
        self.watch(choices, "expanded", self._close, init=False)

    async def _close(self) -> None:
        for choices in self.query(Select[str]):  # none if the whole row was removed
            self.value = str(choices.value)
            if self.has_focus_within:
                self.focus()
            await choices.remove()

    def on_select_changed(self, event: Select.Changed) -> None:
        event.stop()

    async def on_click(self) -> None:
        await self.action_open()
