"""Stub."""

from __future__ import annotations

from textual.widget import Widget


class Chart(Widget, can_focus=True):
    """Stub."""

    def __init__(self, title, *, percent=False, clock=None, id=None, classes=None):
        super().__init__(id=id, classes=classes)
        self.border_title = title
        self.redraw_every = 1.0

    DEFAULT_CSS = "Chart { border: round $frame; }"

    def show(self, lines, rules=(), *, x_unit="step", note=""):
        self.border_subtitle = note
        self.text = " ".join(f"{l.label}:{len(l.xs)}" for l in lines)
        self.refresh()

    def render(self):
        return getattr(self, "text", "")
