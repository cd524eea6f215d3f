"""One setting of the form: its name, an editor, and its help text or error message."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Input

from ...core.settings import Setting
from ..format.values import as_text, safe
from ..widgets.styled_parts import StyledParts
from .choice import Choice
from .toggle import Toggle

MARK = 2  # cells before the name
GAP = 2  # cells before the note
Editor = Input | Choice | Toggle


class FieldRow(StyledParts):
    """A row of the form; only its editor is a widget, since a form of many small widgets is slow to create."""

    PARTS = "field"
    COMPONENT_CLASSES = {"field--mark", "field--note", "field--fault"}  # noqa: RUF012
    DEFAULT_CSS = """
    FieldRow { height: 1; layout: horizontal; }
    .field--mark { color: $warning; }
    .field--note { color: $quiet; }
    .field--fault { color: $error; }
    FieldRow > Input, FieldRow > Choice, FieldRow > Toggle { width: 24; height: 1; margin-left: 25; }
    FieldRow > Input, FieldRow > Choice, FieldRow > Toggle { background: $field; }
    FieldRow > Input { border: none; padding: 0; }
    FieldRow SelectCurrent { background: $field; padding: 0; }
    FieldRow > Toggle:focus { text-style: bold; background: $block-cursor-background; }
    FieldRow:focus-within { background: $panel; }
    FieldRow.-wrong > Input { color: $error; }
    .-narrow FieldRow > Input, .-narrow FieldRow > Choice, .-narrow FieldRow > Toggle { width: 15; }
    """

    class Edited(Message):
        """The user changed the setting."""

        def __init__(self, path: str, text: str) -> None:
            super().__init__()
            self.path = path
            self.text = text

    class Focused(Message):
        """The setting received the focus."""

        def __init__(self, row: FieldRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, setting: Setting, text: str) -> None:
        super().__init__()
        self.setting = setting
        self._text = text
        self._fault = ""
        self._changed = False
        self._editor: Editor | None = None

    def compose(self) -> ComposeResult:
        self._editor = self._editor_of(self._text)
        yield self._editor

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - it has one line
        editor, plain = self._editor, self.app.has_class("-ascii")
        if editor is None:
            return Strip.blank(self.size.width, self.rich_style)
        mark = ("*" if plain else "●") if self._changed else ""
        name = Text(self.label)
        name.truncate(editor.styles.margin.left - MARK, overflow="ellipsis", pad=True)
        fault = f"{'x' if plain else '✗'} {safe(self._fault)}"
        note = Text(fault, self._ink("fault")) if self._fault else Text(self.setting.help, self._ink("note"))
        line = Text(no_wrap=True).append(mark.ljust(MARK), self._ink("mark")).append_text(name)
        line.append(" " * (editor.outer_size.width + GAP))
        note.truncate(max(0, self.size.width - line.cell_len), overflow="ellipsis")
        return self._strip(line.append_text(note))

    @property
    def label(self) -> str:
        """The setting's name as shown."""
        return self.setting.path.partition(".")[2].replace("_", " ")

    def _editor_of(self, text: str) -> Editor:
        choices = self.setting.choices
        if choices == (True, False):
            return Toggle(text == "true")
        if choices:
            texts = [as_text(value) for value in choices]
            return Choice(texts, text if text in texts else texts[0])
        return Input(text, compact=True)

    def put(self, text: str) -> None:
        """Set the shown value."""
        self._text = text
        match self._editor:
            case Input() as editor if editor.value.strip() != text:
                editor.value = text
                editor.select_all()  # as on focus: what is typed next replaces it
            case Choice() as editor:
                editor.value = text
            case Toggle() as editor:
                editor.value = text == "true"
            case _:
                pass

    def show_fault(self, fault: str, changed: bool) -> None:
        """Show an error message ("" for none), and whether the setting differs from the preset."""
        if (fault, changed) == (self._fault, self._changed):
            return
        self._fault, self._changed = fault, changed
        self.set_class(bool(fault), "-wrong")
        self.refresh()

    @property
    def changed(self) -> bool:
        """Whether the setting differs from the preset."""
        return self._changed

    @property
    def fault(self) -> str:
        """The error message; "" for none."""
        return self._fault

    def focus_editor(self) -> None:
        """Focus the editor."""
        if self._editor is not None:
            self._editor.focus()

    def on_resize(self) -> None:
        """Scroll a focused row into view, if it got the focus before it was laid out."""
        if self.has_focus_within and not self.screen.can_view_partial(self):
            self.screen.scroll_to_center(self, origin_visible=True)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._edited(event.value)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._edited(event.value)

    def on_toggle_changed(self, event: Toggle.Changed) -> None:
        event.stop()
        self._edited(as_text(event.value))

    def _edited(self, text: str) -> None:
        if text.strip() != self._text:
            self._text = text.strip()
            self.post_message(self.Edited(self.setting.path, text))

    def on_descendant_focus(self) -> None:
        self.post_message(self.Focused(self))
