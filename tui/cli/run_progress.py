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

REDRAW_EVERY = 0.25


class Lines:
    """Applies events to a record, and prints the noteworthy ones as lines."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.record = RunRecord()
        self._write = write
        self._stage = ""

    def show(self, event: RunEvent) -> None:
        self.record.apply(event)
        if isinstance(event, StageStarted):
            self._show_stage(event.message)
            return
        for line in lines_of(event, self.record):
            self._write(line)

    def _show_stage(self, stage: str) -> None:
        """Print a stage once, not again for each of its parts."""
        if stage != self._stage:
            self._stage = stage
            self._write(safe(stage))


class PlainLines:
    """Plain lines on stderr, for output that is not a terminal."""

    descriptor = 2

    def __init__(self) -> None:
        self.lines = Lines(_to_stderr)
        self.show = self.lines.show

    @property
    def record(self) -> RunRecord:
        """The record so far."""
        return self.lines.record

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class RichProgress:
    """A bar for the epoch and one for the run, with log lines above them."""

    descriptor = 2

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.lines = Lines(lambda line: console.print(Text(line), highlight=False))
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

    @property
    def record(self) -> RunRecord:
        """The record so far."""
        return self.lines.record

    def show(self, event: RunEvent) -> None:
        self.lines.show(event)
        match event:
            case StageStarted(total=int(total)):
                self._set(self._epoch, event.message, event.done or 0, total, "")
            case RunStarted():
                self._set(self._run, "run", self._steps_done(), event.epochs * event.steps_per_epoch, "")
            case StepCompleted():
                self._step(event)
            case DeviceSampled():
                self._memory = f"  {size(self._memory_used())}"
            case CheckpointSaved() | EpochCompleted() | RolledBack():
                self._bars.update(self._run, completed=self._steps_done())
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

    def _steps_done(self) -> int:
        return self.record.step

    def tick(self) -> None:
        now = self._clock()
        if now - self._drawn >= REDRAW_EVERY:
            self._drawn = now
            held = self.record.held is not None
            self._bars.update(self._held, description=held_text(self.record) if held else "", visible=held)
            self._bars.refresh()

    def close(self) -> None:
        self._bars.stop()
