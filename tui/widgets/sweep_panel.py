"""The runs of a sweep: which are done, how far the one in hand is, and what each reached."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget

from core.record import RunRecord
from tui.sweep import Sweep
from tui.text import percent, safe

_GLYPHS = {"completed": ("✓", "+"), "failed": ("✗", "x"), "stopped": ("■", "#"), "": ("○", "o")}


class SweepPanel(Widget):
    """A line a run; scrolled so that the one in hand is seen."""

    DEFAULT_CSS = """
    SweepPanel { border: round $frame; padding: 0 1; }
    SweepPanel.-empty { display: none; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="-empty")
        self.border_title = "Sweep"
        self._sweep: Sweep | None = None

    def show(self, sweep: Sweep | None) -> None:
        """Take in the sweep; with fewer than two runs there is nothing to show."""
        self._sweep = sweep if sweep and len(sweep.requests) > 1 else None
        self.set_class(self._sweep is None, "-empty")
        self.refresh()

    def render(self) -> Text:
        sweep = self._sweep
        if sweep is None:
            return Text()
        lines = [self._line(sweep, number) for number in range(len(sweep.requests))]
        first = max(0, min(len(sweep.records) - 1, len(lines) - self.size.height))
        return Text("\n").join(lines[first : first + self.size.height])

    def _line(self, sweep: Sweep, number: int) -> Text:
        record = sweep.records[number] if number < len(sweep.records) else None
        status = record.status if record else ""
        glyph = _GLYPHS.get(status, ("●", "*"))[self.app.has_class("-ascii")]
        name = safe(sweep.requests[number].varied)
        figure = _best(record) if record else "-"
        room = self.size.width - len(figure) - 9
        done = f"{_share(record):.0%}" if record else ""
        line = Text(no_wrap=True).append(f"{glyph} ").append(name[: max(0, room)].ljust(max(0, room)))
        return line.append(done.rjust(5)).append(f"  {figure}", "bold")


def _share(record: RunRecord) -> float:
    started = record.started
    return record.step / max(1, started.epochs * started.steps_per_epoch) if started else 0.0


def _best(record: RunRecord) -> str:
    best = record.best
    return percent(best.metrics.get("test/accuracy")) if best else "-"
