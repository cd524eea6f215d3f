"""The events of a run: frozen dataclasses, and their form as JSON objects in logs.

Accuracies are fractions from 0 to 1, times are in seconds, memory in bytes. `seq` numbers the events of a run from 0
without gaps, `t` is Unix time, `attempt` numbers the processes that worked on the run from 1.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from .utils.validation import (
    Reader,
    flag,
    list_of,
    matrix,
    number,
    one_of,
    optional,
    positive,
    table,
    text,
    whole_number,
)

RunStatus = Literal["completed", "stopped", "handed_over"]
FailureKind = Literal["input", "busy", "crash", "memory", "diverged", "disk"]
Phase = Literal["train", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """Base of all events."""

    seq: int = 0
    t: float = 0.0
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted(RunEvent):
    """A slow preparation started, or progressed to `done` of `total`."""

    message: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(RunEvent):
    """An attempt started; `resumed_from` (a step) cancels what earlier attempts reported beyond that step."""

    run_id: str
    resumed_from: int | None
    preset: str
    name: str
    reported: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    device: str
    device_name: str
    parameters: int
    forward_flops: int
    epochs: int
    steps_per_epoch: int
    train_images: int
    test_images: int
    class_names: tuple[str, ...]
    chosen_on: str
    reproducible: Literal["exact", "seeded"]
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ranks: tuple[Mapping[str, Any], ...] = ()
    """Each process of a run on several devices: its `host`, `device`, and the `name` of the device."""
    origin: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Where the first weights are from: `kind` (run, file or library), `name`, `sha256`, `reinitialized` parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCompleted(RunEvent):
    """A batch is done: number `batch` of `batches` in this phase of this epoch, `step` optimizer steps since the start.

    `loss` is the mean loss of this batch; `mean_loss` and `accuracy` are over the phase so far; `interval_loss` is the
    mean of the last `training.log_interval` steps, on steps that end such an interval.
    """

    phase: Phase
    epoch: int
    step: int
    batch: int
    batches: int
    loss: float
    mean_loss: float
    accuracy: float
    lr: float
    images_per_second: float
    interval_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSampled(RunEvent):
    """A sample of one rank's device after a batch; None for what it does not report. Utilization is a fraction.

    `memory_process` is the memory of the run, on a GPU what torch's allocator has reserved; `memory_driver` is what the
    driver counts for its process, as nvidia-smi does. `power` and its limit are in watts, `energy` in joules since the
    driver was loaded.
    """

    step: int
    rank: int = 0
    memory_used: int | None = None
    memory_total: int | None = None
    memory_process: int | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    energy: float | None = None
    memory_driver: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCompleted(RunEvent):
    """An epoch is done: exact means over all its steps, the metrics of each evaluated split, the loss of every step.

    `metrics` maps `train/loss`, `test/accuracy`, ... to values. `step_losses` is little-endian float32, one per step.
    `energy` is in joules, None where the device does not report its power. `skipped_steps` counts the steps that were
    skipped because their gradients overflowed half precision.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float]
    lr: float
    images_per_second: float
    train_seconds: float
    seconds: float
    best: bool
    step_losses: bytes
    energy: float | None = None
    skipped_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCompleted(RunEvent):
    """The confusion matrix of the test split (rows: true class), of an epoch that is the best so far or the last."""

    epoch: int
    step: int
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(RunEvent):
    """A checkpoint was saved after `epoch` complete epochs and maybe some batches; `best`: of the best epoch so far."""

    step: int
    epoch: int
    best: bool
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(RunEvent):
    """The run diverged and went back to a checkpoint; what it reported beyond `to_step` is cancelled.

    From now on the learning rate is `lr_factor` times that of the settings.
    """

    step: int
    to_step: int
    lr_factor: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderChanged(RunEvent):
    """The run folder was renamed while the run trained, or removed and created again; `run_id` is its name now.

    `checkpoints` are the steps of the remaining checkpoints; what was reported of others is cancelled.
    """

    run_id: str
    checkpoints: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningRaised(RunEvent):
    """A problem that the run survives, such as a checkpoint that could not be written."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsHeld(RunEvent):
    """The log cannot be written, for `reason`: events from `since` (a `seq`) on wait in memory."""

    since: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsReleased(RunEvent):
    """The log can be written again: `count` events that waited are on disk; `dropped` others were discarded."""

    count: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDropped(RunEvent):
    """Replaces `count` step and device events in a log that could not be written for too long; its `seq` is that of
    the last of them, so that a sequence has gaps nowhere else."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandApplied(RunEvent):
    """A command took effect."""

    command: str
    reason: str = ""
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted(RunEvent):
    """The attempt ended normally: completed, stopped (resumable) or handed over to another process."""

    status: RunStatus
    reason: str
    epoch: int
    step: int
    train_seconds: float
    peak_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed; `hint` is what the user can do about it."""

    kind: FailureKind
    type: str
    message: str
    hint: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed(RunEvent):
    """The attempt failed. Exactly one RunFailed or RunCompleted ends each attempt."""

    error: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReplaced(RunEvent):
    """Never in a log: a reader found a different log, or none; everything read before is cancelled."""

    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLoaded(RunEvent):
    """Never in a log: precedes the `RunStarted` of a resumed run with the record of the run so far, in JSON's types.

    `RunRecord.apply` starts from it, so that a record folded from the events covers the earlier attempts.
    """

    record: Mapping[str, Any]


KINDS: dict[str, type[RunEvent]] = {
    kind.__name__: kind
    for kind in (
        StageStarted,
        RunStarted,
        StepCompleted,
        DeviceSampled,
        EpochCompleted,
        EvaluationCompleted,
        CheckpointSaved,
        RolledBack,
        FolderChanged,
        WarningRaised,
        EventsHeld,
        EventsReleased,
        EventsDropped,
        CommandApplied,
        RunCompleted,
        RunFailed,
    )
}


def stamp(event: RunEvent, *, seq: int, t: float, attempt: int) -> RunEvent:
    """The event with its sequence number, time and attempt."""
    return dataclasses.replace(event, seq=seq, t=t, attempt=attempt)


def to_json(event: RunEvent) -> dict[str, Any]:
    """The event as a JSON object: seq, t, attempt and kind first; bytes as base64; non-finite numbers as strings."""
    body = {name: plain(getattr(event, name)) for name in event.__dataclass_fields__}
    head = {"seq": body.pop("seq"), "t": body.pop("t"), "attempt": body.pop("attempt")}
    return {**head, "kind": type(event).__name__, **body}


def from_json(body: Mapping[str, Any]) -> RunEvent | None:
    """The event in a JSON object, unknown keys ignored; None for a kind that this version does not know.

    Raises:
        TypeError, ValueError, KeyError: the content is not valid for its kind.
    """
    kind = KINDS.get(text(body["kind"]))
    if kind is None:
        return None
    readers = _READERS[kind]
    known = kind.__dataclass_fields__
    return kind(**{key: readers[key](value) for key, value in body.items() if key in known})


def plain(value: Any) -> Any:
    """A value in JSON's types, non-finite numbers as the strings "nan", "inf" and "-inf"."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case Failure():
            return failure_json(value)
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return [plain(item) for item in value]


def _floats(value: Any) -> bytes:
    content = base64.b64decode(text(value), validate=True)
    if len(content) % 4:
        raise ValueError("not whole numbers of 32 bits")
    return content


_FAILURE_KEYS = {name: "mend" if name == "hint" else name for name in Failure.__dataclass_fields__}


def failure_json(failure: Failure) -> dict[str, str]:
    """The failure as a JSON object; the key of the hint is `mend`, as in every log."""
    return {key: getattr(failure, name) for name, key in _FAILURE_KEYS.items()}


def failure_from_json(body: Any) -> Failure:
    """The failure that `failure_json` wrote, unknown keys ignored.

    Raises:
        TypeError, ValueError, KeyError: the content is not valid.
    """
    content = table(body)
    known: dict[str, Any] = {name: text(content[key]) for name, key in _FAILURE_KEYS.items() if key in content}
    one_of(*get_args(FailureKind))(known["kind"])
    return Failure(**known)


def _metrics(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError("not a table")
    return {name: number(figure) for name, figure in cast("Mapping[str, Any]", value).items()}


_BY_ANNOTATION: Mapping[str, Reader] = {
    "int": whole_number,
    "int | None": optional(whole_number),
    "float": number,
    "float | None": optional(number),
    "str": text,
    "bool": flag,
    "bytes": _floats,
    "Phase": one_of(*get_args(Phase)),
    "RunStatus": one_of(*get_args(RunStatus)),
    "Literal['exact', 'seeded']": one_of("exact", "seeded"),
    "Failure": failure_from_json,
    "Mapping[str, float]": _metrics,
    "Mapping[str, Any]": table,
    "tuple[str, ...]": list_of(text),
    "tuple[int, ...]": list_of(whole_number),
    "tuple[Mapping[str, Any], ...]": list_of(table),
    "tuple[tuple[int, ...], ...]": matrix,
}
_DIVISORS = dict.fromkeys(("batches", "steps_per_epoch"), positive)
_READERS: Mapping[type[RunEvent], Mapping[str, Reader]] = {
    kind: {item.name: _BY_ANNOTATION[str(item.type)] for item in dataclasses.fields(kind)} | _DIVISORS
    for kind in KINDS.values()
}
