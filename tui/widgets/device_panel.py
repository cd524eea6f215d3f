"""The device while it trains: use, memory, temperature, power, and what they were in the last minutes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.content import Content

from core.events import DeviceSampled
from tui.bars import bar, sparkline
from tui.text import safe, size
from tui.widgets.inked import Inked

HOTTEST = 100.0
LABEL, FIGURE = 7, 20


class DevicePanel(Inked):
    """A GPU's figures; on a CPU those of this process."""

    PARTS = "device"
    COMPONENT_CLASSES = {"device--bar", "device--track", "device--quiet"}  # noqa: RUF012
    DEFAULT_CSS = """
    DevicePanel { border: round $frame; padding: 0 1; }
    .device--bar { color: $accent; }
    .device--track { color: $track; }
    .device--quiet { color: $quiet; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Device"
        self._samples: Sequence[DeviceSampled] = ()
        self._device = ""
        self._highest = 1.0

    def show(self, name: str, samples: Sequence[DeviceSampled]) -> None:
        """Take in the device's name and its samples, the newest last."""
        if (name, samples[-1:]) == (self._device, self._samples[-1:]):
            return
        self._device = name
        title = "GPU" if samples and samples[-1].power is not None else "Device"
        told = f"{title}  {safe(name)}" if name else title
        self.border_title = Content(told)  # pyright: ignore[reportAttributeAccessIssue]
        self._samples = samples
        self._highest = max([self._highest, *(sample.power or 0.0 for sample in samples)])
        self.refresh()

    def render(self) -> Text:
        if not self._samples:
            return Text("nothing measured yet", self._ink("quiet"))
        lines = self._figures(self._samples[-1])
        height = self.size.height
        if height > len(lines):
            uses = [sample.utilization or 0.0 for sample in self._samples]
            history = sparkline(uses, self.size.width, self.app.has_class("-ascii"))
            lines.append(Text(history.rjust(self.size.width), self._ink("bar")))
        return Text("\n").join(lines[:height])

    def _figures(self, now: DeviceSampled) -> list[Text]:
        lines: list[Text] = []
        if now.utilization is not None:
            lines.append(self._line("use", now.utilization, f"{now.utilization:.0%}"))
        if now.memory_used is not None and now.memory_total:
            told = f"{size(now.memory_used)} of {size(now.memory_total)}"
            lines.append(self._line("memory", now.memory_used / now.memory_total, told))
        if now.memory_process is not None:
            share = now.memory_process / now.memory_total if now.memory_total else 0.0
            lines.append(self._line("run's", share, size(now.memory_process)))
        if now.temperature is not None:
            lines.append(self._line("temp", now.temperature / HOTTEST, f"{now.temperature:.0f} °C"))
        if now.power is not None:
            lines.append(self._line("power", now.power / self._highest, f"{now.power:.0f} W"))
        return lines

    def _line(self, label: str, share: float, told: str) -> Text:
        width = max(0, self.size.width - LABEL - FIGURE)
        line = Text(no_wrap=True).append(label.ljust(LABEL), self._ink("quiet"))
        drawn = bar(width, share, self._ink("bar"), self._ink("track"), self.app.has_class("-ascii"))
        room = self.size.width - LABEL - width
        return line.append_text(drawn).append(told.rjust(room)[-room:] if room > 0 else "")
