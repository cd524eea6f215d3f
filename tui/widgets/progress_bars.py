"""The head of the live page: which run, in what state, and how far its epoch and itself are."""

from __future__ import annotations

from rich.text import Text
from textual.geometry import Region, Size
from textual.strip import Strip

from core.record import RunRecord
from tui.bars import bar, epoch_seconds_left, images_per_second, last_step, run_seconds_left
from tui.text import count, duration, safe
from tui.widgets.inked import Inked

LABEL, SHARE, DONE, SPEED = 7, 6, 16, 23
_GLYPHS = {"running": "●", "paused": "‖", "completed": "✓", "failed": "✗", "stopped": "■"}
_ASCII = {"running": "*", "paused": "=", "completed": "+", "failed": "x", "stopped": "#"}


class ProgressBars(Inked):
    """Three lines."""

    PARTS = "bars"
    COMPONENT_CLASSES = {"bars--bar", "bars--done", "bars--bad", "bars--track", "bars--quiet", "bars--strong"}  # noqa: RUF012
    DEFAULT_CSS = """
    ProgressBars { height: auto; padding: 0 1; }
    .bars--bar { color: $accent; }
    .bars--done { color: $success; }
    .bars--bad { color: $error; }
    .bars--track { color: $track; }
    .bars--quiet { color: $quiet; }
    .bars--strong { text-style: bold; }
    """

    def __init__(self) -> None:
        self._record = RunRecord()
        self._lines = (self._head, self._epoch, self._run)
        self._told: list[Text | None] = [None] * len(self._lines)
        super().__init__()

    def show(self, record: RunRecord) -> None:
        """Take in the run's record, and draw the lines that say something new."""
        self._record = record
        for y, (line, told) in enumerate(zip(self._lines, self._told, strict=True)):
            self._told[y] = line(record)
            if self._told[y] != told:
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        """The bars have another length."""
        self.show(self._record)

    def notify_style_update(self) -> None:
        """The lines have other colours."""
        super().notify_style_update()
        self._told = [None] * len(self._lines)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's form
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        return self._strip(self._told[y] or self._lines[y](self._record))

    def _head(self, record: RunRecord) -> Text:
        started = record.started
        glyph = (_ASCII if self._ascii else _GLYPHS).get(record.status, "o")
        kind = "bad" if record.status == "failed" else "done" if record.status == "completed" else "bar"
        line = Text(no_wrap=True).append(f"{glyph} ", self._ink(kind))
        line.append(safe(started.name or started.preset) if started else "starting", self._ink("strong"))
        about = [started.run_id if started else "", record.status, record.stage or record.reason]
        line.append("  " + safe(" · ".join(part for part in about if part)), self._ink("quiet"))
        line.truncate(max(0, self.size.width), overflow="ellipsis")
        return line

    def _epoch(self, record: RunRecord) -> Text:
        step = last_step(record)
        if record.ending is not None or step is None:
            speed = images_per_second(record)
            return self._bar("epoch", 0.0, "", f"{count(speed)} img/s" if speed else "", record)
        label = "test" if step.phase == "evaluate" else "epoch"
        told = f"{count(step.images_per_second)} img/s  {duration(epoch_seconds_left(record))}"
        return self._bar(label, step.batch / step.batches, f"{count(step.batch)}/{count(step.batches)}", told, record)

    def _run(self, record: RunRecord) -> Text:
        started = record.started
        if started is None:
            return self._bar("run", 0.0, "", "", record)
        step = last_step(record)
        epoch = step.epoch if step else len(record.epochs)
        fraction = record.step / max(1, started.epochs * started.steps_per_epoch)
        left = run_seconds_left(record)
        told = f"{duration(left)} left" if left is not None else f"trained {duration(record.train_seconds)}"
        return self._bar("run", fraction, f"{epoch}/{started.epochs} epochs", told, record)

    def _bar(self, label: str, fraction: float, done: str, speed: str, record: RunRecord) -> Text:
        width = max(0, self.size.width - LABEL - SHARE - DONE - SPEED)
        kind = "bad" if record.status == "failed" else "done" if record.status == "completed" else "bar"
        line = Text(no_wrap=True).append(label.ljust(LABEL), self._ink("quiet"))
        line.append_text(bar(width, fraction, self._ink(kind), self._ink("track"), self._ascii))
        line.append(f"{fraction:.0%}".rjust(SHARE), self._ink("strong"))
        line.append(f"  {done}".ljust(DONE)[:DONE])
        return line.append(speed.rjust(SPEED)[-SPEED:], self._ink("quiet"))

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")
