"""Progress bars and sparklines as text; and the time left, speed and progress of a run."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from ...core.events import StepCompleted
from ...core.runs.record import RunRecord


def bar(width: int, fraction: float | None, ink: str | Style, track: str | Style, ascii_only: bool = False) -> Text:
    """A bar of `width` cells, filled up to `fraction` (0 to 1; None and NaN give an empty bar)."""
    full, rest = halves(width, fraction, ascii_only)
    return Text().append(full, ink).append(rest, track)


def halves(width: int, fraction: float | None, ascii_only: bool = False) -> tuple[str, str]:
    """The filled and the empty part of a bar."""
    full, rest = ("#", "-") if ascii_only else ("━", "━")
    filled = round(shown_share(fraction, width) * width)
    return full * filled, rest * (width - filled)


def shown_share(fraction: float | None, width: int) -> float:
    """The fraction rounded to whole cells of a bar of `width` cells."""
    share = min(1.0, max(0.0, fraction)) if fraction is not None and fraction == fraction else 0.0
    return round(share * width) / width if width > 0 else 0.0


def sparkline(values: list[float], width: int, ascii_only: bool = False) -> str:
    """The last `width` values (0 to 1) as one line of block characters."""
    steps = " .:-=+*#" if ascii_only else " ▁▂▃▄▅▆▇█"
    shown = values[-width:]
    return "".join(steps[round(min(1.0, max(0.0, value)) * (len(steps) - 1))] for value in shown)


def last_step(record: RunRecord) -> StepCompleted | None:
    """The latest step of the current epoch."""
    return record.steps[-1] if record.steps else None


def completed_epochs(record: RunRecord) -> int:
    """The epochs that are done, as every page and command counts them."""
    return record.epochs[-1].epoch if record.epochs else 0


def epoch_seconds_left(record: RunRecord) -> float | None:
    """Seconds until the current phase (training or evaluation) of the epoch ends."""
    step, started = last_step(record), record.started
    if step is None or started is None or step.images_per_second <= 0:
        return None
    images = started.train_images if step.phase == "train" else started.test_images
    return images * (1 - step.batch / step.batches) / step.images_per_second


def run_seconds_left(record: RunRecord) -> float | None:
    """Seconds until the run ends, estimated from its last epochs, in the first epoch from its speed."""
    started, step = record.started, last_step(record)
    if started is None or record.ending is not None:
        return None
    done = len(record.epochs) + (_share(record, step) if step else 0.0)
    last = len(record.epochs) + 1 if record.stops_after_epoch else started.epochs
    if record.epochs:
        recent = record.epochs[-5:]
        return max(0.0, last - done) * sum(epoch.seconds for epoch in recent) / len(recent)
    if step is None or step.phase != "train" or step.images_per_second <= 0:
        return None
    return max(0.0, last - done) * started.train_images / step.images_per_second


def _share(record: RunRecord, step: StepCompleted) -> float:
    """The fraction of its epoch that is done at this step."""
    if step.phase == "evaluate":
        return 1.0 if step.epoch > len(record.epochs) else 0.0
    return step.batch / step.batches


def images_per_second(record: RunRecord) -> float | None:
    """Training images per second, now or else in the last epoch."""
    step = next((step for step in reversed(record.steps) if step.phase == "train"), None)
    if step is not None:
        return step.images_per_second
    return record.epochs[-1].images_per_second if record.epochs else None
