"""The header: the pages, a dot while a run is active, and the device's use and memory."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.message import Message
from textual.strip import Strip

from ...core.events import DeviceSampled
from ..format.rank_table import memory_shown
from ..format.values import safe, size
from .styled_parts import StyledParts

PAGES = (("setup", "Setup"), ("live", "Live"), ("runs", "Runs"), ("compare", "Compare"), ("analyze", "Analyze"))


class NavBar(StyledParts):
    """One line; a click on a name requests that page."""

    PARTS = "nav-bar"
    COMPONENT_CLASSES = {"nav-bar--logo", "nav-bar--current", "nav-bar--quiet", "nav-bar--strong"}  # noqa: RUF012
    DEFAULT_CSS = """
    NavBar { height: 1; background: $panel; color: $foreground; dock: top; }
    .nav-bar--logo { color: $accent; text-style: bold; }
    .nav-bar--current { background: $foreground; color: $background; text-style: bold; }
    .nav-bar--quiet { color: $quiet; }
    .nav-bar--strong { text-style: bold; }
    """

    class Clicked(Message):
        """A page's name was clicked."""

        def __init__(self, mode: str) -> None:
            super().__init__()
            self.mode = mode

    def __init__(self, current: str) -> None:
        super().__init__()
        self.current = current
        self._training = False
        self._device = ""
        self._sample: DeviceSampled | None = None
        self._places: list[tuple[int, int, str]] = []

    def show(self, training: bool, device: str, sample: DeviceSampled | None) -> None:
        """Show whether a run is active, the short name of its devices, and their last sample."""
        device = safe(device)
        if (training, device, sample) != (self._training, self._device, self._sample):
            self._training, self._device, self._sample = training, device, sample
            self.refresh()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002 - it has one line
        wide = self.size.width >= 100
        ascii_only = self.app.has_class("-ascii")
        line = Text(no_wrap=True, end="")
        line.append(" *" if ascii_only else " ◆", self._ink("logo"))
        line.append(" torchdeck  " if wide else "  ", self._ink("logo"))
        self._places = []
        for number, (mode, name) in enumerate(PAGES, start=1):
            dot = (" *" if ascii_only else " ●") if mode == "live" and self._training else ""
            start = line.cell_len
            style = self._ink("current") if mode == self.current else Style.null()
            shown = f" {number} {name}{dot} "
            line.append(f"[{shown.strip()}]" if mode == self.current and self.app.no_color else shown, style)
            self._places.append((start, line.cell_len, mode))
        figures = self._figures(wide)
        gap = self.size.width - line.cell_len - figures.cell_len - 1
        if gap > 0:
            line.append(" " * gap)
            line.append_text(figures)
        return self._strip(line)

    def _figures(self, wide: bool) -> Text:
        sample, text = self._sample, Text()
        if sample is None:
            return text.append(self._device if wide else "", self._ink("quiet"))
        text.append(f"{self._device} " if wide else "", self._ink("quiet"))
        if sample.utilization is not None:
            text.append(f"{sample.utilization:.0%}", self._ink("strong"))
        used = memory_shown(sample)
        if used is not None:
            total = f" of {size(sample.memory_total)}" if wide and sample.memory_total else ""
            text.append(f" {size(used)}{total}", self._ink("quiet"))
        return text

    def on_click(self, event: object) -> None:
        x = getattr(event, "x", -1)
        for start, end, mode in self._places:
            if start <= x < end:
                self.post_message(self.Clicked(mode))
