"""One setting of the form: its name, an editor, and its help or what is wrong with it."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Select, Static

from core.config import Setting
from tui.draft import as_text
from tui.text import safe


class Toggle(Widget, can_focus=True):
    """On or off, told by a sign and a word."""

    BINDINGS = [Binding("enter,space", "flip", "Turn on or off", show=False)]  # noqa: RUF012
    value: reactive[bool] = reactive(False, init=False)

    class Changed(Message):
        """It was turned on or off."""

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


class FieldRow(Horizontal):
    """A line of the form."""

    DEFAULT_CSS = """
    FieldRow { height: 1; }
    FieldRow > .field-mark { width: 2; color: $warning; }
    FieldRow > .field-name { width: 23; }
    FieldRow > .field-name { text-wrap: nowrap; text-overflow: ellipsis; }
    FieldRow > .field-note { width: 1fr; color: $quiet; padding-left: 2; height: 1; }
    FieldRow > .field-note { text-wrap: nowrap; text-overflow: ellipsis; }
    FieldRow > Input, FieldRow > Select { width: 24; }
    FieldRow Input { background: $field; border: none; padding: 0; height: 1; }
    FieldRow Select > SelectCurrent { background: $field; padding: 0; }
    FieldRow > Toggle { height: 1; width: 24; background: $field; }
    FieldRow > Toggle:focus { text-style: bold; background: $block-cursor-background; }
    FieldRow:focus-within { background: $panel; }
    FieldRow.-wrong > .field-note, FieldRow.-wrong Input { color: $error; }
    .-narrow FieldRow > Input, .-narrow FieldRow > Select, .-narrow FieldRow > Toggle { width: 15; }
    .-narrow FieldRow > .field-name { width: 22; }
    """

    class Edited(Message):
        """A person changed the setting."""

        def __init__(self, path: str, text: str) -> None:
            super().__init__()
            self.path = path
            self.text = text

    class Focused(Message):
        """The setting has the focus."""

        def __init__(self, row: FieldRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, setting: Setting, text: str) -> None:
        super().__init__()
        self.setting = setting
        self._text = text
        self._fault = ""
        self._changed = False

    def compose(self) -> ComposeResult:
        yield Static("", classes="field-mark", markup=False)
        yield Static(self.label, classes="field-name", markup=False)
        yield self._editor()
        yield Static(self.setting.help, classes="field-note", markup=False)

    @property
    def label(self) -> str:
        """What the setting is called on the screen."""
        return self.setting.path.partition(".")[2].replace("_", " ")

    def _editor(self) -> Widget:
        choices = self.setting.choices
        if choices == (True, False):
            return Toggle(self._text == "true")
        if choices:
            texts = [as_text(value) for value in choices]
            value = self._text if self._text in texts else texts[0]
            return Select([(text, text) for text in texts], value=value, allow_blank=False, compact=True)
        return Input(self._text, compact=True, select_on_focus=False)

    def put(self, text: str) -> None:
        """Show another value."""
        self._text = text
        if not self.is_mounted:
            return
        for editor in self.query(Input):
            if editor.value.strip() != text:
                editor.value = text
        for choice in self.query(Select[str]):
            choice.value = text
        for toggle in self.query(Toggle):
            toggle.value = text == "true"

    def tell(self, fault: str, changed: bool) -> None:
        """Show what is wrong with the setting, if anything, and whether it differs from the preset."""
        if (fault, changed) == (self._fault, self._changed) or not self.is_mounted:
            return
        self._fault, self._changed = fault, changed
        self.set_class(bool(fault), "-wrong")
        plain = self.app.has_class("-ascii")
        self.query_one(".field-mark", Static).update(("*" if plain else "●") if changed else "")
        note = f"{'x' if plain else '✗'} {safe(fault)}" if fault else self.setting.help
        self.query_one(".field-note", Static).update(note)

    @property
    def fault(self) -> str:
        """What is wrong with the setting; "" for nothing."""
        return self._fault

    def focus_editor(self) -> None:
        """Put the focus into the editor."""
        for editor in self.query("Input, Select, Toggle"):
            editor.focus()
            return

    def on_resize(self) -> None:
        """A line that had the focus before it was laid out comes into view now."""
        if self.has_focus_within and not self.screen.can_view_partial(self):
            self.screen.scroll_to_center(self, origin_visible=True)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._edited(event.value)

    def on_select_changed(self, event: Select.Changed) -> None:
        event.stop()
        self._edited(str(event.value))

    def on_toggle_changed(self, event: Toggle.Changed) -> None:
        event.stop()
        self._edited(as_text(event.value))

    def _edited(self, text: str) -> None:
        if text.strip() != self._text:
            self._text = text.strip()
            self.post_message(self.Edited(self.setting.path, text))

    def on_descendant_focus(self) -> None:
        self.post_message(self.Focused(self))
