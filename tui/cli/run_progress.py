"""Show a run's progress on stderr: progress bars on a terminal, otherwise plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ...core.devices.rank_devices import combine_samples, rank_devices
from ...core.events import (
    CheckpointSaved,
    DeviceSampled,
    EpochCompleted,
    RolledBack,
    RunEvent,
    RunStarted,
    StageStarted,
    StepCompleted,
)
from ...core.runs.record import RunRecord
from ..format.event_lines import held_text, lines_of
from ..format.values import count, percent, safe, size
from .headless import FrontEnd

REDRAW_EVERY = 0.25


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class PlainLines(FrontEnd[RunEvent]):
    """Applies events to a record, and writes the noteworthy ones as lines."""

    def __init__(self, write: Callable[[str], None] = _to_stderr) -> None:
        self.record = RunRecord()
        self._write = write
        self._stages: set[str] = set()

    def show(self, event: RunEvent) -> None:
        self.record.apply(event)
        if isinstance(event, StageStarted):
            self._show_stage(event.message)
            return
        for line in lines_of(event, self.record):
            self._write(line)

    def _show_stage(self, stage: str) -> None:
        """Print a stage once, not again for each of its parts and each split of the data set."""
        if stage not in self._stages:
            self._stages.add(stage)
            self._write(safe(stage))


class RichProgress(PlainLines):
    """A bar for the epoch and one for the run, with log lines above them."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(lambda line: console.print(Text(line), highlight=False))
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._epoch = self._bars.add_task("", figures="", visible=False)
        self._run = self._bars.add_task("", figures="", visible=False)
        self._held = self._bars.add_task("", total=None, figures="", visible=False)
        self._memory = ""
        self._clock = clock
        self._drawn = 0.0
        self._bars.start()

    def show(self, event: RunEvent) -> None:
        super().show(event)
        match event:
            case StageStarted(total=int(total)):
                self._set(self._epoch, event.message, event.done or 0, total, "")
            case RunStarted():
                self._set(self._run, "run", self.record.step, event.epochs * event.steps_per_epoch, "")
            case StepCompleted():
                self._step(event)
            case DeviceSampled():
                self._memory = f"  {size(self._memory_used())}"
            case CheckpointSaved() | EpochCompleted() | RolledBack():
                self._bars.update(self._run, completed=self.record.step)
            case _:
                pass
        self.tick()

    def _step(self, event: StepCompleted) -> None:
        what = f"epoch {event.epoch}" if event.phase == "train" else f"test {event.epoch}"
        loss = f"loss {event.mean_loss:.3f}  accuracy {percent(event.accuracy, 1)}"
        speed = f"lr {event.lr:.2g}  {count(event.images_per_second)} images/s{self._memory}"
        self._set(self._epoch, what, event.batch, event.batches, loss)
        self._bars.update(self._run, completed=event.step, figures=speed, visible=True)

    def _set(self, task: TaskID, text: str, done: int, total: int, figures: str) -> None:
        if self._bars.tasks[task].description != safe(text):
            self._bars.reset(task)
        self._bars.update(task, description=safe(text), completed=done, total=total, figures=figures, visible=True)

    def _memory_used(self) -> int | None:
        """Bytes that the run uses on all its devices."""
        started = self.record.started
        sample = combine_samples(self.record.devices, rank_devices(started) if started else ())
        return sample.memory_process if sample else None

    def tick(self) -> None:
        now = self._clock()
        if now - self._drawn >= REDRAW_EVERY:
            self._drawn = now
            held = self.record.held is not None
            self._bars.update(self._held, description=held_text(self.record) if held else "", visible=held)
            self._bars.refresh()

    def close(self) -> None:
        self._bars.stop()
