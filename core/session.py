"""A run as an iterator of events: plan, prepare the data, claim a directory, train, record, save."""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from core import hand_over
from core.config import ExperimentConfig, config_hash, parse_config, to_plain
from core.control import Control, Inbox
from core.data import open_dataset
from core.data.prepare import Prepared, prepare
from core.device import device_name, environment, open_sampler, peak_memory
from core.errors import BusyError, DiskError, DivergedError, InputError, LogsError, TorchdeckError
from core.events import (
    CommandApplied,
    EpochCompleted,
    Failure,
    FailureKind,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    RunStatus,
    StageStarted,
    WarningRaised,
)
from core.files import DISK, Disk
from core.heart import beating
from core.job import Job, build_job, configure_process
from core.label import Label
from core.logs import FolderControl, load_record, new_run_id
from core.memory import advised, is_out_of_memory, release_memory
from core.plan import Plan, make_plan, steps_per_epoch, with_precision
from core.precision import choose
from core.recorder import Recorder, epochs_done
from core.recovery import restore_newest, roll_back
from core.reported import parse_reported
from core.runs import read_header
from core.saving import Saver
from core.training import Watch, train
from core.writer import check_writable, claim, reopen

_ONE_TRAINING = threading.Lock()
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What varies around a run: folders, the disk, clocks, and how often it says something (seconds)."""

    data_root: Path
    clock: Callable[[], float] = time.perf_counter
    now: Callable[[], float] = time.time
    sample_every: float = 0.1
    wait: Callable[[float], object] = time.sleep
    disk: Disk = DISK


def run(
    config: ExperimentConfig,
    logs: Path,
    control: Inbox | None = None,
    *,
    surroundings: Surroundings,
    label: Label | None = None,
    run_id: str = "",
) -> Iterator[RunEvent]:
    """Train a config and record it under `logs`; every failure is the last event, nothing is raised.

    Nothing happens before the first `next()`. What is wrong with the request is told before anything is left on disk.
    A caller that must know the run before it begins gives its id, by `new_run_id`.
    """
    recorder = Recorder(surroundings.now, surroundings.wait)

    def begin() -> Generator[RunEvent, None, Job]:
        check_writable(logs)
        plan, prepared = yield from _prepared(config, surroundings, recorder)
        recorder.plan = plan
        name = run_id or new_run_id((label or Label()).preset, surroundings.now())
        header = _header(plan, prepared, label or Label(), surroundings)
        recorder.use(claim(logs, name, header, surroundings.disk))
        configure_process(plan)
        job = build_job(plan, prepared)
        yield recorder(_started(plan, prepared, label or Label(), name, None))
        return job

    yield from recorder.with_news(_attempt(begin, recorder, control, surroundings))


def resume(
    folder: Path, control: Inbox | None = None, *, surroundings: Surroundings, take_over: bool = False
) -> Iterator[RunEvent]:
    """Go on with a stopped or dead run from its newest checkpoint that verifies, or from the start without one.

    To take it over is to ask the process that trains it for it, once all is ready to go on; it trains on until then.
    """
    recorder = Recorder(surroundings.now, surroundings.wait)

    def begin() -> Generator[RunEvent, None, Job]:
        config, label, fingerprint = _asked(folder)
        ready = (
            _drained(_prepared(config, surroundings, Recorder(surroundings.now, surroundings.wait)))
            if take_over
            else None
        )
        disk = surroundings.disk
        writer = hand_over.taken(folder, control or Control(), disk=disk) if take_over else reopen(folder, disk)
        try:
            _take_up(folder, recorder)
            plan, prepared = ready or (yield from _prepared(config, surroundings, recorder))
        except BaseException:
            writer.close()
            raise
        recorder.plan = plan
        recorder.use(writer)
        configure_process(plan)
        job = build_job(plan, prepared)
        restored, same = restore_newest(job, folder / "checkpoints"), prepared.fingerprint == fingerprint
        yield recorder(_started(plan, prepared, label, folder.name, restored.step or 0, same_data=same))
        for message in restored.passed_over:
            yield recorder(WarningRaised(message=message))
        if not same:
            message = "the data set is not the one that the run began with: what follows is no exact repetition"
            yield recorder(WarningRaised(message=message))
        return job

    yield from recorder.with_news(_attempt(begin, recorder, control, surroundings))


def _take_up(folder: Path, recorder: Recorder) -> None:
    """Go on with the record of a locked run."""
    record = load_record(folder)
    ending = record.ending
    if isinstance(ending, RunCompleted) and ending.status == "completed":
        raise InputError(f"run {folder.name} is complete", "start a new run to train longer")
    recorder.record, recorder.attempt = record, record.attempt + 1
    record.ending = None


def _drained(steps: Generator[RunEvent, None, Done]) -> Done:
    """What a generator returns at its end; nobody hears what it says until then."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _asked(folder: Path) -> tuple[ExperimentConfig, Label, str]:
    """The settings of a run, what it is called, and the fingerprint of the data it began with."""
    header = read_header(folder)
    if "config" not in header:
        raise LogsError(f"{folder / 'run.json'} is missing or damaged", "start a new run")
    reported = parse_reported(header.get("reported", []))
    label = Label(header.get("preset", "custom"), header.get("name", ""), (), reported)
    return parse_config(header["config"]), label, str(header.get("data", {}).get("sha256", ""))


def _prepared(
    config: ExperimentConfig, surroundings: Surroundings, recorder: Recorder
) -> Generator[RunEvent, None, tuple[Plan, Prepared]]:
    """The plan, and the data ready to train on; slow steps are told as stages."""
    plan = make_plan(config, surroundings.data_root)
    if plan.config.training.precision == "auto":
        yield recorder(StageStarted(message="measuring whether bf16 is faster"))
        plan = with_precision(plan, choose(plan))
    dataset = open_dataset(plan.config.data, surroundings.data_root)
    steps = prepare(dataset, plan.config.training.seed, plan.config.data.source == "streamed")
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return plan, end.value
        yield recorder(StageStarted(message=progress.message, done=progress.done, total=progress.total))


def _attempt(
    begin: Callable[[], Generator[RunEvent, None, Job]],
    recorder: Recorder,
    control: Inbox | None,
    surroundings: Surroundings,
) -> Generator[RunEvent]:
    """One attempt from its first stage to its last event."""
    if not _ONE_TRAINING.acquire(blocking=False):
        busy = BusyError("another training runs in this process", "wait for its end, or start another process")
        yield recorder(RunFailed(error=_failure(busy)))
        return
    failure: Failure | None = None
    try:
        try:
            # Held by no name here, so that its memory is free when the heap is given back.
            yield from _train((yield from begin()), recorder, control or Control(), surroundings)
        except Exception as error:  # noqa: BLE001 - a failure of any kind is the last event
            failure = _failure(error)
        if failure:
            # Only here is the traceback gone, and with it the model and its data; a next run may need their memory.
            gc.collect()
            release_memory()
            yield recorder(RunFailed(error=advised(failure, recorder.record, recorder.plan)))
    finally:
        # Whoever goes on with a run that is handed over needs the memory as soon as the lock is free.
        release_memory()
        recorder.close()
        _ONE_TRAINING.release()


def _train(job: Job, recorder: Recorder, control: Inbox, surroundings: Surroundings) -> Iterator[RunEvent]:
    writer = recorder.writer
    assert writer is not None
    disk = surroundings.disk
    inbox = FolderControl(control, writer.folder, surroundings.clock, looked=writer.flush, disk=disk)
    saver = Saver(job, recorder, writer.folder, disk)
    sampler = open_sampler(job.plan.device)
    watch = Watch(inbox, surroundings.clock, surroundings.sample_every, sampler)
    training = job.plan.config.training
    if training.compile:
        yield recorder(StageStarted(message="compiling the model"))
    if training.on_divergence == "roll-back" and job.position.step == 0:
        yield from saver.now()
    outcome: tuple[RunStatus, str] | None = None
    while outcome is None:
        try:
            with beating() as heart:
                watch.stood_still = heart.stood_still
                outcome = yield from _trained(watch, saver, inbox)
            if outcome[0] != "handed_over":
                yield from saver.last(completed=outcome[0] == "completed")
        except DivergedError as error:
            yield recorder(roll_back(job, writer.folder / "checkpoints", error, disk))
    status, reason = outcome
    yield recorder(
        RunCompleted(
            status=status,
            reason=reason,
            epoch=epochs_done(recorder.record),
            step=job.position.step,
            train_seconds=recorder.record.train_seconds,
            peak_memory=peak_memory(job.plan.device),
        )
    )


def _trained(watch: Watch, saver: Saver, inbox: FolderControl) -> Generator[RunEvent, None, tuple[RunStatus, str]]:
    """Train to an outcome and its reason, and save what events ask for."""
    job, recorder = saver.job, saver.recorder
    loop = train(job, watch)
    while True:
        try:
            event = next(loop)
        except StopIteration as end:
            return end.value
        yield recorder(event)
        yield from _saved(saver, event)
        if isinstance(event, CommandApplied) and event.command == "hand-over":
            if hand_over.is_safe(recorder.record, job.position.step):
                loop.close()
                hand_over.pass_on(inbox, watch)
                return "handed_over", event.reason
            yield recorder(WarningRaised(message="the run was not handed over: it goes on where it is"))


def _saved(saver: Saver, event: RunEvent) -> Iterator[RunEvent]:
    """What an event asks to be saved."""
    match event:
        case EpochCompleted():
            yield from saver.epoch(event)
        case CommandApplied(command="checkpoint" | "hand-over"):
            yield from saver.now()
        case _:
            pass


def _header(plan: Plan, prepared: Prepared, label: Label, surroundings: Surroundings) -> dict[str, Any]:
    """What run.json says: what was asked and where."""
    return {
        "created": surroundings.now(),
        "preset": label.preset,
        "name": label.name,
        "tags": list(label.tags),
        "reported": [asdict(figure) for figure in label.reported],
        "study": asdict(label.study) if label.study else None,
        "config": to_plain(plan.config),
        "config_sha256": config_hash(plan.config),
        "data": {
            "name": plan.config.data.name,
            "sha256": prepared.fingerprint,
            "mean": prepared.mean,
            "std": prepared.std,
            "image": asdict(prepared.spec),
        },
        "parameters": plan.parameters,
        "forward_flops": plan.forward_flops,
        "environment": environment(),
    }


def _started(
    plan: Plan, prepared: Prepared, label: Label, run_id: str, resumed_from: int | None, *, same_data: bool = True
) -> RunStarted:
    training, images = plan.config.training, len(prepared.train.labels)
    exact = same_data and (plan.device.type == "cpu" or training.deterministic)
    return RunStarted(
        run_id=run_id,
        resumed_from=resumed_from,
        preset=label.preset,
        name=label.name,
        reported=tuple(asdict(figure) for figure in label.reported),
        config=to_plain(plan.config),
        device=str(plan.device),
        device_name=device_name(plan.device),
        parameters=plan.parameters,
        forward_flops=plan.forward_flops,
        epochs=training.epochs,
        steps_per_epoch=steps_per_epoch(images, training.batch_size),
        train_images=images,
        test_images=len(prepared.test.labels),
        class_names=tuple(prepared.class_names),
        chosen_on="validation" if prepared.validation else "test",
        reproducible="exact" if exact else "seeded",
        environment=environment(),
    )


def _failure(error: Exception) -> Failure:
    """An exception as the last event tells it."""
    kind: FailureKind = "crash"
    mend = error.mend if isinstance(error, TorchdeckError) else ""
    match error:
        case InputError():
            kind = "input"
        case BusyError():
            kind = "busy"
        case DivergedError():
            kind = "diverged"
        case DiskError():
            kind = "disk"
        case _ if is_out_of_memory(error):
            kind, mend = "memory", "choose a smaller model or data set, or set data.source=streamed"
        case _:
            mend = mend or "the traceback stands in the run's log"
    message = error.message if isinstance(error, TorchdeckError) else str(error) or type(error).__name__
    return Failure(kind, type(error).__name__, message, mend, "".join(traceback.format_exception(error)))
