"""The record of a run: its state, folded from its events, the same for a live run and a log of last week."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any

from ..events import (
    CheckpointSaved,
    CommandApplied,
    DeviceSampled,
    EpochCompleted,
    EvaluationCompleted,
    EventsHeld,
    EventsReleased,
    FolderChanged,
    HistoryLoaded,
    LogReplaced,
    RolledBack,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    StageStarted,
    StepCompleted,
    WarningRaised,
    from_json,
    plain,
    to_json,
)
from ..utils.validation import (
    Reader,
    finite,
    list_of,
    mapping,
    matrix,
    number,
    number_rows,
    optional,
    text,
    valid_items,
    whole_number,
)
from .milestones import milestones

MAX_STEPS = 20_000
"""Step events kept of the current epoch: several minutes at ten a second, and more points than any chart shows."""


@dataclass(slots=True)
class RunRecord:
    """Everything known about a run; only `apply` changes it."""

    status: str = "preparing"
    reason: str = ""
    stage: str = ""
    started: RunStarted | None = None
    created: float = 0.0
    updated: float = 0.0
    attempt: int = 0
    next_seq: int = 0
    epochs: list[EpochCompleted] = field(default_factory=list[EpochCompleted])
    steps: list[StepCompleted] = field(default_factory=list[StepCompleted])
    devices: dict[int, DeviceSampled] = field(default_factory=dict[int, DeviceSampled])
    """The last sample of each rank's device."""
    peak_memory: int | None = None
    confusions: dict[int, EvaluationCompleted] = field(default_factory=dict[int, EvaluationCompleted])
    checkpoints: list[CheckpointSaved] = field(default_factory=list[CheckpointSaved])
    warnings: list[str] = field(default_factory=list[str])
    ending: RunCompleted | RunFailed | None = None
    stops_after_epoch: bool = False
    """Whether an active run was asked to stop after its epoch."""
    held: EventsHeld | None = None
    """Set while events wait in memory because the disk reports errors."""

    def apply(self, event: RunEvent) -> None:
        """Fold an event into the record; events that were applied before (by their `seq`) are ignored."""
        if isinstance(event, LogReplaced):
            self._become(RunRecord())
            self.status = "removed" if event.removed else self.status
            return
        if isinstance(event, HistoryLoaded):
            self._become(record_from_json(event.record))
            return
        if event.seq < self.next_seq:
            return
        self.next_seq = event.seq + 1
        self.updated = event.t
        self.created = self.created or event.t
        match event:
            case StageStarted():
                self.stage = event.message
            case RunStarted():
                self._start(event)
            case StepCompleted():
                self._step(event)
            case DeviceSampled():
                self._sample(event)
            case EpochCompleted():
                self._end_epoch(event)
            case EvaluationCompleted():
                self.confusions[event.epoch] = event
            case CheckpointSaved():
                self.checkpoints.append(event)
            case RolledBack():
                self._discard_beyond(event.to_step)
                self.warnings.append(
                    f"{event.reason}; back to step {event.to_step}, learning rate x {event.lr_factor:g}"
                )
            case FolderChanged():
                self.checkpoints = [saved for saved in self.checkpoints if saved.step in event.checkpoints]
                self.started = replace(self.started, run_id=event.run_id) if self.started else None
            case WarningRaised():
                self.warnings.append(event.message)
            case EventsHeld():
                self.held = event
            case EventsReleased():
                self._release(event)
            case CommandApplied():
                self.status = {"pause": "paused", "unpause": "running"}.get(event.command, self.status)
                self.stops_after_epoch |= event.command == "stop-after-epoch"
            case RunCompleted():
                self.status, self.reason, self.ending, self.held = event.status, event.reason, event, None
            case RunFailed():
                self.status, self.reason, self.ending, self.held = "failed", event.error.message, event, None
            case _:
                pass

    def _become(self, other: RunRecord) -> None:
        for item in fields(self):
            setattr(self, item.name, getattr(other, item.name))

    def _start(self, event: RunStarted) -> None:
        """Start an attempt; what earlier ones reported beyond the step that it resumes from is discarded."""
        self.started, self.status, self.reason, self.ending, self.held = event, "running", "", None, None
        self.attempt = event.attempt
        self.stops_after_epoch = False
        self.devices = {}
        self._discard_beyond(event.resumed_from or 0)

    def _discard_beyond(self, kept: int) -> None:
        """Discard what was reported beyond a step."""
        self.epochs = [epoch for epoch in self.epochs if epoch.step <= kept]
        # A checkpoint within an epoch keeps the epochs before it; one at an epoch's very end may precede evaluation.
        self.steps = []
        self.checkpoints = [saved for saved in self.checkpoints if saved.step <= kept]
        self.confusions = {epoch: seen for epoch, seen in self.confusions.items() if seen.step <= kept}

    def _step(self, event: StepCompleted) -> None:
        """Keep a step; once there are too many, every second earlier one is dropped."""
        self.stage = ""
        if len(self.steps) >= MAX_STEPS:
            self.steps = self.steps[::2]
        self.steps.append(event)

    def _release(self, event: EventsReleased) -> None:
        reason = self.held.reason if self.held else "the disk refused them"
        lost = f", {event.dropped} step events were dropped" if event.dropped else ""
        self.warnings.append(f"{event.count} events waited in memory: {reason}{lost}")
        self.held = None

    @property
    def waiting(self) -> int:
        """The number of events that wait in memory because the disk reports errors."""
        return self.next_seq - self.held.since if self.held else 0

    def _sample(self, event: DeviceSampled) -> None:
        self.devices[event.rank] = event
        if event.memory_process is not None:
            self.peak_memory = max(self.peak_memory or 0, event.memory_process)

    def _end_epoch(self, event: EpochCompleted) -> None:
        """Keep an epoch, and of the confusion matrices only its own and that of the best epoch."""
        self.epochs.append(event)
        self.steps.clear()
        best = self.best
        wanted = {event.epoch, best.epoch if best else event.epoch}
        self.confusions = {epoch: seen for epoch, seen in self.confusions.items() if epoch in wanted}

    @property
    def device(self) -> DeviceSampled | None:
        """The last sample of the first rank's device."""
        return self.devices.get(0)

    @property
    def best(self) -> EpochCompleted | None:
        """The best epoch so far."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.best), None)

    @property
    def best_saved(self) -> int | None:
        """The step of the last checkpoint of a best epoch, which may precede `best` after a disk error."""
        return next((saved.step for saved in reversed(self.checkpoints) if saved.best), None)

    @property
    def weights_epoch(self) -> int | None:
        """The epoch of the weights that are exported: the last best one that was saved, else the newest."""
        saved = [*(item for item in self.checkpoints if item.step == self.best_saved), *self.checkpoints[-1:]]
        return saved[0].epoch if saved else None

    def instead_of_best(self, epoch: int | None) -> str:
        """That weights or files of `epoch` are not the best epoch's, which could not be saved; "" where they are."""
        best = self.best
        if best is None or epoch is None or epoch == best.epoch:
            return ""
        if epoch > best.epoch:
            return f"these are epoch {epoch}'s"
        # An active run tries again.
        how = "is not saved yet" if self.status in ("running", "paused") else "was not saved"
        return f"best epoch {best.epoch} {how}; these are epoch {epoch}'s"

    @property
    def best_confusion(self) -> EvaluationCompleted | None:
        """The confusion matrix of the best epoch."""
        best = self.best
        return self.confusions.get(best.epoch) if best else None

    @property
    def peak(self) -> int | None:
        """Peak memory of the run in bytes."""
        reported = self.ending.peak_memory if isinstance(self.ending, RunCompleted) else None
        return max((figure for figure in (reported, self.peak_memory) if figure is not None), default=None)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        if isinstance(self.ending, RunCompleted):
            return self.ending.step
        if self.steps:
            return self.steps[-1].step
        return self.epochs[-1].step if self.epochs else 0

    @property
    def train_seconds(self) -> float:
        """Time spent training, without evaluation, over the completed epochs."""
        return sum(epoch.train_seconds for epoch in self.epochs)

    @property
    def images_per_second(self) -> float | None:
        """Training images a second over the completed epochs, without evaluation."""
        seconds = self.train_seconds
        if not self.epochs or not self.started or not seconds:
            return None
        return len(self.epochs) * self.started.train_images / seconds

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object, as the cache holds it."""
        singles = {name: getattr(self, name) for name in _SCALARS}
        events = {name: to_json(event) if (event := getattr(self, name)) else None for name in _EVENTS}
        lists = {name: [to_json(event) for event in getattr(self, name)] for name in _LISTS}
        return {
            **singles,
            "warnings": list(self.warnings),
            **events,
            **lists,
            "confusions": [to_json(seen) for seen in self.confusions.values()],
            "devices": [to_json(sample) for sample in self.devices.values()],
        }


_SCALARS: Mapping[str, Reader] = {
    "status": text, "reason": text, "stage": text, "created": number, "updated": number, "attempt": whole_number,
    "next_seq": whole_number, "peak_memory": optional(whole_number),
}  # fmt: skip
_EVENTS = ("started", "ending")
_LISTS = ("epochs", "steps", "checkpoints")


def record_from_json(body: Mapping[str, Any]) -> RunRecord:
    """The record that `RunRecord.to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: the content is not valid.
    """
    record = RunRecord(**{name: read(body[name]) for name, read in _SCALARS.items()})
    record.warnings = list(list_of(text)(body["warnings"]))
    for name in _EVENTS:
        setattr(record, name, from_json(body[name]) if body[name] else None)
    for name in _LISTS:
        setattr(record, name, [from_json(item) for item in body[name]])
    seen = [from_json(item) for item in body["confusions"]]
    record.confusions = {item.epoch: item for item in seen if isinstance(item, EvaluationCompleted)}
    samples = [from_json(item) for item in body["devices"]]
    record.devices = {item.rank: item for item in samples if isinstance(item, DeviceSampled)}
    return record


def summarize(record: RunRecord) -> dict[str, Any]:
    """The summary of a run for lists and tables, in JSON's types."""
    started, best = record.started, record.best
    last = record.epochs[-1] if record.epochs else None
    seen = record.best_confusion
    return {
        "status": record.status,
        "reason": record.reason,
        "attempt": record.attempt,
        "created": record.created,
        "updated": record.updated,
        "run_id": started.run_id if started else "",
        "preset": started.preset if started else "",
        "name": started.name if started else "",
        "device": started.device_name if started else "",
        "devices": max(1, len(started.ranks)) if started else 0,
        "epoch": last.epoch if last else 0,
        "epochs": started.epochs if started else 0,
        "step": record.step,
        "parameters": started.parameters if started else 0,
        "forward_flops": started.forward_flops if started else 0,
        "train_seconds": record.train_seconds,
        "seconds": sum(epoch.seconds for epoch in record.epochs),
        "images_per_second": last.images_per_second if last else None,
        "peak_memory": record.peak,
        "final": plain(last.metrics) if last else {},
        "best": plain(best.metrics) if best else {},
        "best_epoch": best.epoch if best else None,
        "chosen_on": started.chosen_on if started else "",
        "reported": plain(started.reported) if started else [],
        "class_names": list(started.class_names) if started else [],
        "confusion": plain(seen.confusion) if seen else None,
        "milestones": [plain(astuple(item)) for item in milestones(record.epochs)],
        "warnings": list(record.warnings),
    }


_SUMMARY: Mapping[str, Reader] = {
    **dict.fromkeys(("status", "reason", "run_id", "preset", "name", "device", "chosen_on"), text),
    **dict.fromkeys(("attempt", "devices", "epoch", "epochs", "step", "parameters", "forward_flops"), whole_number),
    **dict.fromkeys(("created", "updated", "train_seconds", "seconds"), finite),
    **dict.fromkeys(("peak_memory", "best_epoch"), optional(whole_number)),
    **dict.fromkeys(("final", "best"), mapping),
    **dict.fromkeys(("class_names", "warnings"), list_of(text)),
    "images_per_second": optional(number),
    "reported": list_of(mapping),
    "confusion": optional(matrix),
    "milestones": number_rows,
}


def read_summary(content: Any) -> dict[str, Any]:
    """A summary read from JSON, without values of a type that `summarize` does not write."""
    return valid_items(content, _SUMMARY)


READING = "reading"
"""The status of a placeholder record while the log is being read."""
