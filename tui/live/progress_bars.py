"""The top of the Live page: the run and its status, a progress bar for the epoch and one for the whole run."""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text
from textual.geometry import Size
from textual.strip import Strip

from ...core.runs.record import RunRecord
from ..format.bars import (
    completed_epochs,
    epoch_seconds_left,
    halves,
    images_per_second,
    last_step,
    run_seconds_left,
    shown_share,
)
from ..format.values import count, duration, safe
from ..widgets.line_list import LineList

LABEL, SHARE, DONE, SPEED = 11, 6, 16, 23
_GLYPHS = {"running": "●", "paused": "‖", "completed": "✓", "failed": "✗", "stopped": "■"}
_ASCII = {"running": "*", "paused": "=", "completed": "+", "failed": "x", "stopped": "#"}


class Head(NamedTuple):
    """The first line: the run and its status."""

    status: str
    name: str
    run_id: str
    stage: str


class Bar(NamedTuple):
    """A progress bar and the texts on its right."""

    label: str
    kind: str
    share: float
    percent: str
    done: str
    speed: str


class ProgressBars(LineList):
    """A headline and two bars."""

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
        super().__init__()
        self._record = RunRecord()
        self.show(self._record)

    def show(self, record: RunRecord) -> None:
        """Show a run's record."""
        self._record = record
        cells = _cells(self.size.width)
        self.show_items((_head(record), _epoch(record, cells), _run(record, cells)))

    def on_resize(self) -> None:
        """Adapt the length of the bars."""
        self.show(self._record)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's form
        return len(self._items)

    def render_item(self, item: Head | Bar) -> Strip:
        width = self.size.width
        return self._render_head(item, width) if isinstance(item, Head) else self._render_bar(item, width)

    def _render_head(self, head: Head, width: int) -> Strip:
        glyph = (_ASCII if self._ascii else _GLYPHS).get(head.status, "o")
        line = Text(no_wrap=True).append(f"{glyph} ", self._ink(_kind(head.status)))
        line.append(safe(head.name), self._ink("strong"))
        about = [safe(part) for part in (head.run_id, head.status, head.stage) if part]
        line.append("  " + " · ".join(about), self._ink("quiet"))
        line.truncate(max(0, width), overflow="ellipsis")
        return self._strip(line)

    def _render_bar(self, bar: Bar, width: int) -> Strip:
        full, rest = halves(_cells(width), bar.share, self._ascii)
        return self._styled_line(
            (bar.label.ljust(LABEL)[:LABEL], "quiet"),
            (full, bar.kind),
            (rest, "track"),
            (bar.percent.rjust(SHARE), "strong"),
            (f"  {bar.done}".ljust(DONE)[:DONE], ""),
            (bar.speed.rjust(SPEED)[-SPEED:], "quiet"),
            width=width,
        )


def _kind(status: str) -> str:
    """The ink of the bar for a status."""
    return "bad" if status == "failed" else "done" if status == "completed" else "bar"


def _cells(width: int) -> int:
    """The length of a bar in a line of `width` cells."""
    return max(0, width - LABEL - SHARE - DONE - SPEED)


def _head(record: RunRecord) -> Head:
    started = record.started
    name = (started.name or started.preset) if started else "starting"
    stopping = "stops after this epoch" if record.stops_after_epoch and record.ending is None else ""
    about = record.stage or record.reason or stopping
    return Head(record.status, name, started.run_id if started else "", about)


def _epoch(record: RunRecord, cells: int) -> Bar:
    """The current epoch; of a run that has ended, how far its last one came."""
    step, speed = last_step(record), images_per_second(record)
    if step is None:
        last, shown = completed_epochs(record), f"{count(speed)} img/s" if speed else ""
        return _bar(record, cells, f"epoch {last or 1}", float(last > 0), "", shown)
    label = f"{'test' if step.phase == 'evaluate' else 'epoch'} {step.epoch}"
    if record.ending is None:
        speed = step.images_per_second
    shown = f"{count(speed)} img/s" + (f"  {duration(epoch_seconds_left(record))}" if record.ending is None else "")
    return _bar(record, cells, label, step.batch / step.batches, f"{count(step.batch)}/{count(step.batches)}", shown)


def _run(record: RunRecord, cells: int) -> Bar:
    started = record.started
    if started is None:
        return _bar(record, cells, "run", 0.0, "", "")
    epoch = completed_epochs(record)
    fraction = record.step / max(1, started.epochs * started.steps_per_epoch)
    left = run_seconds_left(record)
    time = f"{duration(left)} left" if left is not None else f"trained {duration(record.train_seconds)}"
    return _bar(record, cells, "run", fraction, f"{epoch}/{started.epochs} epochs", time)


def _bar(record: RunRecord, cells: int, label: str, fraction: float, done: str, speed: str) -> Bar:
    return Bar(label, _kind(record.status), shown_share(fraction, cells), f"{fraction:.0%}", done, speed)
