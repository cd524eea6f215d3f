"""The device while it trains: use, memory, temperature, power, and what they were in the last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textual.content import Content
from textual.strip import Strip

from ...core.events import DeviceSampled
from ..format.bars import halves, shown_share, sparkline
from ..format.values import safe, size
from ..widgets.line_list import ToldLines

HOTTEST = 100.0
LABEL, FIGURE = 7, 20


class Figure(NamedTuple):
    """A line with a bar."""

    label: str
    share: float
    told: str


class History(NamedTuple):
    """The last line: what the use was."""

    uses: tuple[float, ...]


class DevicePanel(ToldLines):
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
        self.border_title = self._titled = "Device"
        self._samples: Sequence[DeviceSampled] = ()
        self._device = ""
        self._highest = 1.0
        self._tell()

    def show(self, name: str, samples: Sequence[DeviceSampled]) -> None:
        """Take in the device's name and its samples, the newest last."""
        if (name, samples[-1:]) == (self._device, self._samples[-1:]):
            return
        self._device, self._samples = name, samples
        title = "GPU" if samples and samples[-1].power is not None else "Device"
        told = f"{title}  {safe(name)}" if name else title
        # A title that is set draws all again, even where it is the same.
        if told != self._titled:
            self._titled = told
            self.border_title = Content(told)  # pyright: ignore[reportAttributeAccessIssue]
        self._highest = max([self._highest, *(sample.power or 0.0 for sample in samples)])
        self._tell()

    def on_resize(self) -> None:
        """The bars have another length, and there is room for more or fewer lines."""
        self._tell()

    def _tell(self) -> None:
        if not self._samples:
            self.tell(["nothing measured yet"])
            return
        lines: list[Figure | History] = list(self._figures(self._samples[-1]))
        height = self.size.height
        if height > len(lines):
            lines.append(History(tuple(sample.utilization or 0.0 for sample in self._samples[-self.size.width :])))
        self.tell(lines[:height])

    def _figures(self, now: DeviceSampled) -> list[Figure]:
        lines: list[Figure] = []
        if now.utilization is not None:
            lines.append(self._figure("use", now.utilization, f"{now.utilization:.0%}"))
        if now.memory_used is not None and now.memory_total:
            told = f"{size(now.memory_used)} of {size(now.memory_total)}"
            lines.append(self._figure("memory", now.memory_used / now.memory_total, told))
        if now.memory_process is not None:
            share = now.memory_process / now.memory_total if now.memory_total else 0.0
            lines.append(self._figure("run's", share, size(now.memory_process)))
        if now.temperature is not None:
            lines.append(self._figure("temp", now.temperature / HOTTEST, f"{now.temperature:.0f} °C"))
        if now.power is not None:
            limit = f" of {now.power_limit:.0f}" if now.power_limit else ""
            share = now.power / (now.power_limit or self._highest)
            lines.append(self._figure("power", share, f"{now.power:.0f}{limit} W"))
        if now.memory_driver is not None:
            # Last, where there is room: the run's memory as nvidia-smi counts it, with CUDA's context.
            share = now.memory_driver / now.memory_total if now.memory_total else 0.0
            lines.append(self._figure("smi", share, size(now.memory_driver)))
        return lines

    def _figure(self, label: str, share: float, told: str) -> Figure:
        return Figure(label, shown_share(share, _cells(self.size.width)), told)

    def written(self, told: Figure | History | str) -> Strip:
        width = self.size.width
        match told:
            case Figure():
                full, rest = halves(_cells(width), told.share, self._ascii)
                room = max(0, width - LABEL - _cells(width))
                right = told.told.rjust(room)[-room:] if room else ""
                parts = ((told.label.ljust(LABEL), "quiet"), (full, "bar"), (rest, "track"), (right, ""))
                return self._inked(*parts, width=width)
            case History():
                return self._inked((sparkline(list(told.uses), width, self._ascii).rjust(width), "bar"), width=width)
            case str():
                return self._inked((told, "quiet"), width=width)

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")


def _cells(width: int) -> int:
    """The length of a bar in a line of this width."""
    return max(0, width - LABEL - FIGURE)
