"""The list of presets by data set, filtered as one types; each with name, title, summary and reported accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Group
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from ...core.config import to_plain
from ...presets import Preset, is_shipped
from ..format.values import percent, safe


class PresetList(OptionList):
    """The highlighted preset is shown in the form; Enter moves there."""

    class Picked(Message):
        """Another preset is highlighted."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class Drawn(Message):
        """The list was drawn for the first time."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False, compact=True)
        self.border_title = "Preset"
        self._drawn = False

    def show(self, presets: Sequence[Preset], detailed: bool, chosen: str) -> None:
        """List the presets by data set, the user's own first, with their summaries if there is room."""
        options: list[Option] = []
        for group, items in groupby(sorted(presets, key=_place), key=_group):
            options.append(Option(Text(safe(group), "underline"), disabled=True))
            options += [Option(_prompt(item, detailed), id=item.name) for item in items]
        self.clear_options()
        self.add_options(options or [Option("No preset has this in its name or title.", disabled=True)])
        if chosen in (names := [option.id for option in options]):
            self.highlighted = names.index(chosen)

    def render_line(self, y: int) -> Strip:
        # All lines of a frame are drawn together, and written before the message is handled.
        if self.option_count and not self._drawn:
            self._drawn = True
            self.post_message(self.Drawn())
        return super().render_line(y)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_id:
            self.post_message(self.Picked(event.option_id))


class PresetPicker(Vertical):
    """A filter above the list."""

    DEFAULT_CSS = """
    PresetPicker { height: 1fr; }
    PresetPicker > Input { height: 1; background: $field; padding: 0 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._filter = Input(placeholder="filter the presets", compact=True, id="preset-filter")
        self._list = PresetList(id="presets")
        self._shown: tuple[Sequence[Preset], bool, str] = ((), False, "")

    def compose(self) -> ComposeResult:
        yield self._filter
        yield self._list

    def show(self, presets: Sequence[Preset], detailed: bool, chosen: str) -> None:
        """List the presets that match the filter."""
        self._shown = (presets, detailed, chosen)
        words = self._filter.value.lower().split()
        matching = [item for item in presets if all(word in _words(item) for word in words)]
        self._list.show(matching, detailed, chosen)

    def on_preset_list_picked(self, message: PresetList.Picked) -> None:
        """The filter keeps the preset that is highlighted."""
        self._shown = (*self._shown[:2], message.name)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.show(*self._shown)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._list.focus()


def _group(item: Preset) -> str:
    """What a preset is listed under: its data set, or that it is the user's own."""
    return str(to_plain(item.config)["data"]["name"]) if is_shipped(item.name) else "your presets"


def _place(item: Preset) -> tuple[bool, bool, str]:
    """The user's own first, then the data set that needs no download."""
    return is_shipped(item.name), _group(item) != "digits", _group(item)


def _words(item: Preset) -> str:
    return f"{item.name} {item.title} {_group(item)}".lower()


def _prompt(item: Preset, detailed: bool) -> Group | Text:
    title = Text(safe(item.name), "bold", no_wrap=True, overflow="ellipsis").append(f"  {safe(item.title)}", "not bold")
    if not detailed:
        return title
    claims = [claim for claim in item.reported if claim.metric == "test/accuracy"]
    reported = f" Reported: {percent(claims[-1].value)} {claims[-1].at}." if claims else ""
    return Group(title, Text(safe(item.summary) + reported, "dim"), Text(""))
