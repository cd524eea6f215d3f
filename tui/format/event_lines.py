"""A run's events as log lines."""

from __future__ import annotations

from collections import defaultdict

from ...core.devices.rank_devices import name_text
from ...core.events import (
    CommandApplied,
    EpochCompleted,
    EventsHeld,
    EventsReleased,
    LogReplaced,
    RolledBack,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    StageStarted,
    StepCompleted,
    WarningRaised,
)
from ...core.runs.record import RunRecord
from ...core.utils.flatten import flatten
from .network_text import network_name, origin_text
from .plan_text import batch_text
from .values import count, duration, flops, percent, safe


def lines_of(event: RunEvent, record: RunRecord) -> list[str]:
    """The lines for one event, safe for a terminal; `record` must contain the event already."""
    return [safe(line) for line in _lines(event, record)]


def _lines(event: RunEvent, record: RunRecord) -> list[str]:
    match event:
        case StageStarted(done=None | 0):
            return [event.message]
        case RunStarted():
            return _opening(event)
        case StepCompleted(interval_loss=float()):
            return [f"  epoch {event.epoch}  step {event.batch}/{event.batches}  loss {event.interval_loss:.4f}"]
        case EpochCompleted():
            return [_epoch(event, record), *([f"warning: {held_text(record)}"] if record.held else [])]
        case CommandApplied():
            return [f"{event.command} ({event.reason})"]
        case RolledBack():
            return [f"{event.reason}; back to step {event.to_step}, learning rate × {event.lr_factor:g}"]
        case WarningRaised():
            return [f"warning: {event.message}"]
        case EventsHeld():
            return [f"warning: {held_text(record)}; training continues"]
        case EventsReleased():
            return [_released(event)]
        case RunCompleted(status="stopped"):
            return [_stopped(event, record)]
        case RunCompleted(status="handed_over"):
            return [f"handed over at step {event.step} to a background process"]
        case RunFailed():
            return _failure(event)
        case LogReplaced():
            return [
                "the log of this run was removed"
                if event.removed
                else "the log was replaced: reading it from its start"
            ]
        case _:
            return []


def held_text(record: RunRecord) -> str:
    """How many events wait because the disk refuses them, and why."""
    one, reason = record.waiting == 1, record.held.reason if record.held else ""
    return f"{count(record.waiting)} {'event waits' if one else 'events wait'} in memory: {reason}"


def _released(event: EventsReleased) -> str:
    lost = f"; {count(event.dropped)} step events were dropped" if event.dropped else ""
    return f"the disk accepts writes again: {count(event.count)} held events were written{lost}"


def _stopped(event: RunCompleted, record: RunRecord) -> str:
    run_id = record.started.run_id if record.started else "@last"
    return f"stopped at step {event.step}: {event.reason}; resume with: torchdeck resume {run_id}"


def _opening(event: RunStarted) -> list[str]:
    config = defaultdict(lambda: "?", flatten(event.config))
    attempt = f", attempt {event.attempt} from step {event.resumed_from}" if event.resumed_from is not None else ""
    return [
        f"run {event.run_id}{attempt}",
        f"{network_name(config)}: {count(event.parameters)} parameters, {flops(event.forward_flops)} an image"
        f" · {config['data.name']}: {count(event.train_images)} + {count(event.test_images)} images,"
        f" {config['data.source']}",
        f"{event.epochs} epochs of {count(event.steps_per_epoch)} steps,"
        f" batch {_batch(event, config['training.batch_size'])} · {name_text(event)}, {config['training.precision']}",
        *([f"starts from {origin_text(event.origin)}"] if event.origin else []),
    ]


def _batch(event: RunStarted, size: object) -> str:
    """The batch size; on several devices also that of each."""
    ranks = len(event.ranks)
    return batch_text(size, ranks) if ranks and isinstance(size, int) else str(size)


def _epoch(event: EpochCompleted, record: RunRecord) -> str:
    total = record.started.epochs if record.started else 0
    parts = [f"epoch {event.epoch:>{len(str(total))}}/{total}"]
    for split in ("train", "validation", "test"):
        loss, hits = (event.metrics.get(f"{split}/{figure}") for figure in ("loss", "accuracy"))
        if loss is not None and hits is not None:
            parts.append(f"{split} {loss:.4f} {percent(hits)}")
    if event.skipped_steps:
        parts.append(f"{event.skipped_steps} steps skipped")
    parts += [f"lr {event.lr:.3g}", f"{count(event.images_per_second)} images/s", duration(event.seconds)]
    return "  ".join(parts) + ("  best" if event.best else "")


def _failure(event: RunFailed) -> list[str]:
    hint = [f"  {line}" for line in event.error.hint.splitlines()]
    return [f"error: {line}" for line in event.error.message.splitlines()] + hint
