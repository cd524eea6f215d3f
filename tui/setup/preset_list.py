"""The list of presets, each with title, summary and reported accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text
from textual.message import Message
from textual.strip import Strip
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from ...presets import Preset
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
        """List the presets, with their summaries if there is room."""
        self.clear_options()
        self.add_options([Option(_prompt(item, detailed), id=item.name) for item in presets])
        names = [item.name for item in presets]
        if chosen in names:
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


def _prompt(item: Preset, detailed: bool) -> Group | Text:
    title = Text(safe(item.title), "bold", no_wrap=True, overflow="ellipsis")
    if not detailed:
        return title
    claims = [claim for claim in item.reported if claim.metric == "test/accuracy"]
    reported = f" Reported: {percent(claims[-1].value)} {claims[-1].at}." if claims else ""
    return Group(title, Text(safe(item.summary) + reported, "dim"), Text(""))
