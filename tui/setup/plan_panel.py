"""What a start would do: runs, steps, size of the model, time and memory; or what must be mended first."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual.widgets import Static

from ..format.values import count, duration, flops, safe, size
from ..state.start_preview import Outlook


class PlanPanel(Static):
    """A few lines."""

    DEFAULT_CSS = "PlanPanel { text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id, classes="panel", markup=False)
        self.border_title = "Plan"

    def waiting(self, runs: int, changed: int) -> None:
        """The settings are right; the rest is being worked out."""
        self.update(Text(f"{_many(runs, 'run')}\nworking out the plan ...\n{_changed(changed)}"))

    def faults(self, faults: Mapping[str, str]) -> None:
        """Say what must be mended."""
        sign = "x" if self.app.has_class("-ascii") else "✗"
        names = ", ".join(path.partition(".")[2].replace("_", " ") or safe(text) for path, text in faults.items())
        text = Text(f"{sign} {_many(len(faults), 'setting')} to fix\n", self.app.theme_variables.get("error", "red"))
        self.update(text.append(safe(names), "none"))

    def show(self, outlook: Outlook, changed: int) -> None:
        """Show the outlook."""
        epochs = {run.training.epochs for run in outlook.runs}
        each = count(min(epochs)) if len(epochs) == 1 else f"{count(min(epochs))}-{count(max(epochs))}"
        head = Text(f"{_many(len(outlook.runs), 'run')} of {each} epochs", "bold")
        lines = [
            f"{count(outlook.steps)} steps",
            *outlook.shares,
            f"{count(outlook.parameters)} parameters, {flops(outlook.forward_flops)}",
            _time(outlook),
            f"about {size(outlook.memory)} of memory" + (" on each device" if outlook.ranks > 1 else ""),
            *([f"about {size(outlook.disk)} of disk for decoded images"] if outlook.disk else []),
            _changed(changed),
            *map(safe, outlook.notes),
        ]
        self.update(Text("\n").join([head, *map(Text, lines)]))


def _time(outlook: Outlook) -> str:
    if outlook.seconds is None or outlook.estimate is None:
        return f"F7 measures the time on {outlook.device}"
    known = outlook.estimate.source
    # A warm-up does the work of one device and waits for no other.
    least = "at least" if known == "measured" and outlook.ranks > 1 else "about"
    return f"{least} {duration(outlook.seconds)} on {outlook.device} ({known})"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _changed(number: int) -> str:
    return f"{_many(number, 'setting')} changed from the preset"
