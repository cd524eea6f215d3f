"""What a start would do: runs, steps, size of the model, time and memory; or what must be mended first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text
from textual.widgets import Static

from core.config import ExperimentConfig
from core.estimate import Estimate
from tui.text import count, duration, flops, safe, size


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the runs that a start would make."""

    runs: tuple[ExperimentConfig, ...]
    train_images: int
    parameters: int
    forward_flops: int
    memory: int
    device: str
    estimate: Estimate | None

    @property
    def steps(self) -> int:
        """Optimizer steps of all runs."""
        return sum(math.ceil(self.train_images / run.training.batch_size) * run.training.epochs for run in self.runs)

    @property
    def seconds(self) -> float | None:
        """Seconds that all runs take."""
        if self.estimate is None:
            return None
        return self.estimate.seconds_per_epoch * sum(run.training.epochs for run in self.runs)


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
            f"{count(outlook.parameters)} parameters, {flops(outlook.forward_flops)}",
            _time(outlook),
            f"about {size(outlook.memory)} of memory",
            _changed(changed),
        ]
        self.update(Text("\n").join([head, *map(Text, lines)]))


def _time(outlook: Outlook) -> str:
    if outlook.seconds is None or outlook.estimate is None:
        return f"F7 measures the time on {outlook.device}"
    return f"about {duration(outlook.seconds)} on {outlook.device} ({outlook.estimate.source})"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _changed(number: int) -> str:
    return f"{_many(number, 'setting')} changed from the preset"
