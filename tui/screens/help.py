"""The help dialog: all keys of the current page, from its active bindings."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

_NAMES = {
    "left": "←", "right": "→", "up": "↑", "down": "↓", "shift+left": "shift ←", "shift+right": "shift →",
    "question_mark": "?", "slash": "/", "plus": "+", "minus": "-", "left_square_bracket": "[",
    "right_square_bracket": "]", "comma": ",", "full_stop": ".",
}  # fmt: skip


class Help(ModalScreen[None]):
    """Lists all keys that work now."""

    BINDINGS = [("escape,question_mark,f1,q", "dismiss", "Close")]  # noqa: RUF012

    def __init__(self, bindings: Iterable[ActiveBinding]) -> None:
        super().__init__()
        self._lines = _lines(bindings)

    def compose(self) -> ComposeResult:
        table = Table.grid(padding=(0, 2))
        for keys, what in self._lines:
            table.add_row(Text(keys, style="bold"), Text(what))
        with VerticalScroll(classes="dialog", id="help") as box:
            box.border_title = "Keys"
            box.border_subtitle = "esc closes"
            yield Static(table)


def _lines(bindings: Iterable[ActiveBinding]) -> list[tuple[str, str]]:
    """One line per action: its keys, and what it does; bindings without a description (tab, ...) are left out."""
    keys: dict[tuple[str, str], list[str]] = {}
    for _, binding, enabled, _ in bindings:
        if enabled and binding.description:
            name = _NAMES.get(binding.key, binding.key)
            keys.setdefault((binding.action, binding.description), []).append(name)
    return [(" ".join(found), what) for (_, what), found in keys.items()]
