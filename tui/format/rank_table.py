"""The devices of a run's ranks as lines: a row per rank if they fit, else a total and a compact cell per rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from ...core.devices.rank_devices import RankDevice, hosts
from ...core.events import DeviceSampled
from .bars import bar, sparkline
from .values import safe, size

MAX_PLACE_LENGTH = 20
MIN_BAR, TWO_BARS = 4, 22
"""Spare cells above which rows get a bar of use, and from which also one of memory."""
GAP = 2


@dataclass(frozen=True, slots=True)
class Inks:
    """The styles of the lines, and whether to use ASCII only."""

    bar: Style
    track: Style
    quiet: Style
    ascii_only: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line; `sample` is None before the first measurement."""

    label: str
    place: str
    sample: DeviceSampled | None

    @property
    def use(self) -> str:
        """How busy the device is."""
        value = self.sample.utilization if self.sample else None
        return "-" if value is None else f"{value:.0%}"

    @property
    def memory(self) -> str:
        """Used memory of a GPU; on a CPU, that of the run."""
        return size(memory_shown(self.sample)) if self.sample else "-"

    @property
    def temperature(self) -> str:
        """Degrees Celsius."""
        value = self.sample.temperature if self.sample else None
        return "" if value is None else f"{value:.0f}°C"

    @property
    def power(self) -> str:
        """Watts."""
        value = self.sample.power if self.sample else None
        return "" if value is None else f"{value:,.0f} W"


def memory_shown(sample: DeviceSampled) -> int | None:
    """Bytes: used memory of a GPU; on a CPU, whose memory other programs use too, that of the run."""
    return sample.memory_used if sample.power is not None else sample.memory_process


def rank_rows(found: Sequence[RankDevice], latest: Mapping[int, DeviceSampled]) -> list[Row]:
    """A row per rank, with its host if there are several."""
    several = len(hosts(found)) > 1
    named = [f"{place.host} {place.device}" if several else place.device for place in found]
    return [Row(str(rank), safe(name)[:MAX_PLACE_LENGTH], latest.get(rank)) for rank, name in enumerate(named)]


def lines_of(rows: Sequence[Row], whole: Row, uses: Sequence[float], width: int, height: int, inks: Inks) -> list[Text]:
    """All rows, with the total if there is a line left; if they do not fit, the total and a cell per row.

    A line that is left shows the history of `uses`, the mean use of all devices.
    """
    if len(rows) <= height:
        lines = _table([*rows, whole] if height > len(rows) else rows, width, inks)
    else:
        lines = _table([whole], width, inks)
        cells = _cells(rows, width, height - 1, inks) if height > 1 else []
        if not cells:
            return [*lines, *_columns(rows, width, height - 1, inks)][:height]
        lines += cells
    history = Text(sparkline(list(uses), width, inks.ascii_only).rjust(width), inks.bar)
    return [*lines, history][:height]


def _table(rows: Sequence[Row], width: int, inks: Inks) -> list[Text]:
    """A line per row; columns without room are left out, spare cells become bars."""
    columns = {
        "label": [row.label for row in rows],
        "use": [row.use for row in rows],
        "memory": [row.memory for row in rows],
        "place": [row.place for row in rows],
        "power": [row.power for row in rows],
        "temperature": [row.temperature for row in rows],
    }
    widths, room = dict[str, int](), width + 1
    for name, texts in columns.items():
        needed = max(map(cell_len, texts))
        if needed and needed < room:
            widths[name], room = needed, room - needed - 1
    shares = {"use": [_use(row) for row in rows], "memory": [_share(row) for row in rows]}
    bars = _bars(room, any(share is not None for share in shares["memory"]))
    lines: list[Text] = []
    for at in range(len(rows)):
        parts = [_left(columns[name][at], widths[name], inks) for name in ("label", "place") if name in widths]
        for name in ("use", "memory"):
            if name in bars:
                parts.append(_bar(bars[name], shares[name][at], inks))
            parts += [Text(columns[name][at].rjust(widths[name]))] if name in widths else []
        parts += [Text(columns[name][at].rjust(widths[name])) for name in ("temperature", "power") if name in widths]
        lines.append(Text(" ", no_wrap=True).join(parts))
    return lines


def _bars(room: int, has_memory: bool) -> dict[str, int]:
    """The bars that fit into the spare cells, and their widths."""
    if room >= TWO_BARS and has_memory:
        return {"use": room // 2 - 1, "memory": room - room // 2 - 1}
    return {"use": room - 1} if room > MIN_BAR else {}


def _left(text: str, width: int, inks: Inks) -> Text:
    return Text(set_cell_size(text, width), inks.quiet)


def _bar(width: int, share: float | None, inks: Inks) -> Text:
    return bar(width, share, inks.bar, inks.track, inks.ascii_only)


def _use(row: Row) -> float | None:
    return row.sample.utilization if row.sample else None


def _share(row: Row) -> float | None:
    """The used fraction of the device's memory."""
    sample = row.sample
    used = memory_shown(sample) if sample else None
    return used / sample.memory_total if sample and used is not None and sample.memory_total else None


def _cells(rows: Sequence[Row], width: int, height: int, inks: Inks) -> list[Text]:
    """Ranks side by side, each with its use; empty if that does not fit either."""
    across = math.ceil(len(rows) / height)
    room = (width + GAP) // across - GAP
    label, use = (max(map(cell_len, texts)) for texts in ([row.label for row in rows], [row.use for row in rows]))
    spare = room - label - use - 1
    if spare < 0:
        return []
    lines: list[Text] = []
    for start in range(0, len(rows), across):
        line = Text(no_wrap=True)
        for row in rows[start : start + across]:
            line.append(f"{row.label.rjust(label)} ", inks.quiet)
            if spare > MIN_BAR:
                line.append_text(_bar(spare - 1, _use(row), inks)).append(" ")
            line.append(row.use.rjust(use)).append(" " * (GAP if spare > MIN_BAR else GAP + spare))
        line.rstrip()
        lines.append(line)
    return lines


def _columns(rows: Sequence[Row], width: int, height: int, inks: Inks) -> list[Text]:
    """A column per rank; if there are more ranks than columns, each shows the least busy of a group."""
    uses = [use if (use := _use(row)) is not None else 0.0 for row in rows]
    group = max(1, math.ceil(len(uses) / max(1, width * height)))
    shown = [min(uses[at : at + group]) for at in range(0, len(uses), group)]
    parts = [shown[at : at + width] for at in range(0, len(shown), max(1, width))]
    return [Text(sparkline(part, width, inks.ascii_only), inks.bar) for part in parts]
