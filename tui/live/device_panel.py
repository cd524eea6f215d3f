"""The device of a run: its use, memory, temperature and power, and a history of its use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual.content import Content
from textual.strip import Strip

from ...core.events import DeviceSampled
from ..format.bars import halves, shown_share, sparkline
from ..format.values import safe, size
from ..widgets.line_list import LineList

MAX_TEMPERATURE = 100.0
LABEL, FIGURE = 7, 20


class Figure(NamedTuple):
    """A labelled bar with its value as text."""

    label: str
    share: float
    text: str


class History(NamedTuple):
    """The last line: past use."""

    uses: tuple[float, ...]


class DevicePanel(LineList):
    """Figures of a GPU; on a CPU, those of the training process."""

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
        self.border_title = self._titled = "Device"
        self._samples: Sequence[DeviceSampled] = ()
        self._device = ""
        self._highest = 1.0
        self._update()

    def show(self, name: str, samples: Sequence[DeviceSampled]) -> None:
        """Show the device's name and its samples, the newest last."""
        if (name, samples[-1:]) == (self._device, self._samples[-1:]):
            return
        self._device, self._samples = name, samples
        title = "GPU" if samples and samples[-1].power is not None else "Device"
        text = f"{title}  {safe(name)}" if name else title
        # Setting the title redraws the whole panel, even if it is the same.
        if text != self._titled:
            self._titled = text
            self.border_title = Content(text)  # pyright: ignore[reportAttributeAccessIssue]
        self._highest = max([self._highest, *(sample.power or 0.0 for sample in samples)])
        self._update()

    def on_resize(self) -> None:
        """Adapt the bars and the number of lines."""
        self._update()

    def _update(self) -> None:
        if not self._samples:
            self.show_items(["no measurements yet"])
            return
        lines: list[Figure | History] = list(self._figures(self._samples[-1]))
        height = self.size.height
        if height > len(lines):
            lines.append(History(tuple(sample.utilization or 0.0 for sample in self._samples[-self.size.width :])))
        self.show_items(lines[:height])

    def _figures(self, now: DeviceSampled) -> list[Figure]:
        lines: list[Figure] = []
        if now.utilization is not None:
            lines.append(self._figure("use", now.utilization, f"{now.utilization:.0%}"))
        if now.memory_used is not None and now.memory_total:
            text = f"{size(now.memory_used)} of {size(now.memory_total)}"
            lines.append(self._figure("memory", now.memory_used / now.memory_total, text))
        if now.memory_process is not None:
            share = now.memory_process / now.memory_total if now.memory_total else 0.0
            lines.append(self._figure("run's", share, size(now.memory_process)))
        if now.temperature is not None:
            lines.append(self._figure("temp", now.temperature / MAX_TEMPERATURE, f"{now.temperature:.0f} °C"))
        if now.power is not None:
            limit = f" of {now.power_limit:.0f}" if now.power_limit else ""
            share = now.power / (now.power_limit or self._highest)
            lines.append(self._figure("power", share, f"{now.power:.0f}{limit} W"))
        if now.memory_driver is not None:
            # Last, where there is room: the run's memory as nvidia-smi counts it, with CUDA's context.
            share = now.memory_driver / now.memory_total if now.memory_total else 0.0
            lines.append(self._figure("smi", share, size(now.memory_driver)))
        return lines

    def _figure(self, label: str, share: float, text: str) -> Figure:
        return Figure(label, shown_share(share, _cells(self.size.width)), text)

    def render_item(self, item: Figure | History | str) -> Strip:
        width = self.size.width
        match item:
            case Figure():
                full, rest = halves(_cells(width), item.share, self._ascii)
                room = max(0, width - LABEL - _cells(width))
                right = item.text.rjust(room)[-room:] if room else ""
                parts = ((item.label.ljust(LABEL), "quiet"), (full, "bar"), (rest, "track"), (right, ""))
                return self._styled_line(*parts, width=width)
            case History():
                return self._styled_line(
                    (sparkline(list(item.uses), width, self._ascii).rjust(width), "bar"), width=width
                )
            case str():
                return self._styled_line((item, "quiet"), width=width)


def _cells(width: int) -> int:
    """The length of a bar in a line of `width` cells."""
    return max(0, width - LABEL - FIGURE)
