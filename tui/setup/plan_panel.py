"""The plan of a start: runs, steps, model size, time and memory; or the settings to fix first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.content import Content
from textual.widgets import Static

from ..format.values import count, duration, flops, safe, size
from ..state.start_preview import StartPreview

TALL = 34
"""Rows of the terminal from which there is room for what is automatic."""
MAX_ROWS = 6
"""Runs that the plan lists before it counts the rest."""


class PlanPanel(Static):
    """A panel of a few lines."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id, classes="panel", markup=False)
        self.border_title = "Plan"
        self._shown: tuple[StartPreview, int, Sequence[Mapping[str, str]]] | None = None

    def waiting(self, runs: int, changed: int) -> None:
        """Show that the settings are valid, and the plan is being made."""
        self._shown = None
        self.update(Text(f"{_many(runs, 'run')}\nworking out the plan ...\n{_changed(changed)}"))

    def faults(self, faults: Mapping[str, str]) -> None:
        """Show the settings to fix."""
        self._shown = None
        sign = "x" if self.app.has_class("-ascii") else "✗"
        names = ", ".join(name_of(path) or safe(text) for path, text in faults.items())
        self.update(Content.assemble((f"{sign} {_many(len(faults), 'setting')} to fix\n", "$error"), safe(names)))

    def show(self, preview: StartPreview, changed: int, runs: Sequence[Mapping[str, str]] = ()) -> None:
        """Show the preview of a start; `runs` are the settings that differ between several of them."""
        self._shown = preview, changed, runs
        epochs = {run.training.epochs for run in preview.runs}
        each = count(min(epochs)) if len(epochs) == 1 else f"{count(min(epochs))}-{count(max(epochs))}"
        head = Text(f"{_many(len(preview.runs), 'run')} of {each} epochs", "bold")
        auto = ", ".join(f"{name_of(path)} {value}" for path, value in preview.automatic)
        lines = [
            *_table(runs),
            f"{count(preview.steps)} steps",
            *preview.shares,
            f"{count(preview.parameters)} parameters, {flops(preview.forward_flops)}",
            _time(preview),
            f"about {size(preview.memory)} of memory" + (" on each device" if preview.ranks > 1 else ""),
            *([f"about {size(preview.disk)} of disk for decoded images"] if preview.disk else []),
            *([f"auto: {auto}"] if auto and self.app.size.height >= TALL else []),
            _changed(changed),
            *map(safe, preview.notes),
        ]
        self.update(Text("\n").join([head, *map(Text, lines)]))

    def on_resize(self) -> None:
        """Show what has room in a terminal of the new size."""
        if self._shown:
            self.show(*self._shown)


def name_of(path: str) -> str:
    """A setting's name as the form shows it."""
    return path.partition(".")[2].replace("_", " ")


def _table(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """The runs as a table of what differs, as many as have room; nothing for a single run."""
    if len(runs) < 2:
        return []
    rows = [[name_of(path) for path in runs[0]], *([safe(value) for value in run.values()] for run in runs[:MAX_ROWS])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return [*lines, *([f"  and {count(len(runs) - MAX_ROWS)} more"] if len(runs) > MAX_ROWS else [])]


def _time(preview: StartPreview) -> str:
    if preview.seconds is None or preview.estimate is None:
        return f"F7 measures the time on {preview.device}"
    known = preview.estimate.source
    # The measurement uses one device, which waits for no other.
    bound = "at least" if known == "measured" and preview.ranks > 1 else "about"
    return f"{bound} {duration(preview.seconds)} on {preview.device} ({known})"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _changed(number: int) -> str:
    return f"{_many(number, 'setting')} changed from the preset"
