"""A run as an iterator of events: plan, prepare the data, claim a directory, train, record, save."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..config import ExperimentConfig, parse_config, to_plain
from ..control import Control, Inbox
from ..data import open_dataset
from ..data.prepare import Prepared, prepare
from ..devices.torch_device import open_sampler, peak_memory
from ..errors import BusyError, DivergedError, InputError, LogsError
from ..events import (
    CommandApplied,
    EpochCompleted,
    Failure,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStatus,
    StageStarted,
    WarningRaised,
)
from ..runs.commands import FolderControl
from ..runs.index import read_header
from ..runs.label import Label
from ..runs.layout import new_run_id
from ..runs.reader import load_record
from ..runs.reported import parse_reported
from ..runs.request import DEFAULT_RANK_TIMEOUTS, RankTimeouts
from ..runs.writer import RunWriter, check_writable, claim, reopen
from ..training.loop import train
from ..training.pacing import Pacer
from ..training.plan import Plan, device_notes, make_plan, with_precision
from ..training.precision import choose_precision
from ..training.process_group import SINGLE, Ranks, check_equal
from ..training.state import TrainingJob, build_job, configure_process
from ..utils.files import DISK, Disk
from . import handover as hand_over
from .out_of_memory import release_memory, with_advice
from .recorder import Recorder, epochs_done
from .restore import restore_newest, roll_back
from .run_header import failure_of, header_of, started_event
from .saver import Saver
from .suspend_detector import detecting_suspends

_ONE_TRAINING = threading.Lock()
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What varies around a run: folders, the disk, clocks, and how often it says something (seconds)."""

    data_root: Path
    clock: Callable[[], float] = time.perf_counter
    now: Callable[[], float] = time.time
    sample_every: float = 0.1
    wait: Callable[[float], object] = time.sleep
    disk: Disk = DISK
    ranks: Ranks = SINGLE
    """Of a run on several devices, this process among the others."""
    rank_timeouts: RankTimeouts = DEFAULT_RANK_TIMEOUTS
    """Of a run on several devices."""


def run(
    config: ExperimentConfig,
    logs: Path,
    control: Inbox | None = None,
    *,
    context: SessionContext,
    label: Label | None = None,
    run_id: str = "",
) -> Iterator[RunEvent]:
    """Train a config and record it under `logs`; every failure is the last event, nothing is raised.

    Nothing happens before the first `next()`. What is wrong with the request is told before anything is left on disk.
    A caller that must know the run before it begins gives its id, by `new_run_id`. A run on several devices trains in
    processes of its own, which go on when nobody iterates.
    """
    ranks, name = context.ranks, run_id or new_run_id((label or Label()).preset, context.now())
    recorder = Recorder(context.now, context.wait, silent=not ranks.is_leader)

    def start() -> Generator[RunEvent, None, TrainingJob]:
        if ranks.is_leader:
            check_writable(logs)
        plan, prepared = yield from _prepare(config, context, recorder)
        recorder.plan = plan
        if ranks.is_leader:
            header = header_of(plan, prepared, label or Label(), context.now())
            recorder.attach(claim(logs, name, header, context.disk))
        configure_process(plan)
        job = build_job(plan, prepared, ranks)
        yield recorder(started_event(job, prepared, label or Label(), name, None))
        for note in prepared.notes:
            yield recorder(WarningRaised(message=f"{config.data.name}: {note}"))
        for note in device_notes(plan.config, plan.device):
            yield recorder(WarningRaised(message=note))
        return job

    yield from recorder.with_disk_events(_attempt(start, recorder, control, context, logs / name))


def resume(
    folder: Path, control: Inbox | None = None, *, context: SessionContext, take_over: bool = False
) -> Iterator[RunEvent]:
    """Go on with a stopped or dead run from its newest checkpoint that verifies, or from the start without one.

    To take it over is to ask the process that trains it for it, once all is ready to go on; it trains on until then.
    """
    ranks = context.ranks
    recorder = Recorder(context.now, context.wait, silent=not ranks.is_leader)

    def start() -> Generator[RunEvent, None, TrainingJob]:
        config, label, fingerprint = _read_settings(folder)
        ready = _run_to_end(_prepare(config, context, Recorder(context.now, context.wait))) if take_over else None
        writer = _open_writer(folder, control or Control(), context, take_over)
        try:
            _continue_record(folder, recorder)
            plan, prepared = ready or (yield from _prepare(config, context, recorder))
        except BaseException:
            if writer:
                writer.close()
            raise
        recorder.plan = plan
        if writer:
            recorder.attach(writer)
        configure_process(plan)
        job = build_job(plan, prepared, ranks)
        restored, same = restore_newest(job, folder / "checkpoints"), prepared.fingerprint == fingerprint
        check_equal(ranks, restored.step, "checkpoints")
        yield recorder(started_event(job, prepared, label, folder.name, restored.step or 0, same_data=same))
        for message in restored.passed_over:
            yield recorder(WarningRaised(message=message))
        if not same:
            message = "the data set is not the one that the run began with: what follows is no exact repetition"
            yield recorder(WarningRaised(message=message))
        return job

    yield from recorder.with_disk_events(_attempt(start, recorder, control, context, folder))


def _open_writer(folder: Path, control: Inbox, context: SessionContext, take_over: bool) -> RunWriter | None:
    """The run's lock, for the rank that writes."""
    if not context.ranks.is_leader:
        return None
    disk = context.disk
    return hand_over.take_over_run(folder, control, disk=disk) if take_over else reopen(folder, disk)


def _continue_record(folder: Path, recorder: Recorder) -> None:
    """Go on with the record of a locked run."""
    record = load_record(folder)
    ending = record.ending
    if isinstance(ending, RunCompleted) and ending.status == "completed":
        raise InputError(f"run {folder.name} is complete", "start a new run to train longer")
    recorder.record, recorder.attempt = record, record.attempt + 1
    record.ending = None


def _run_to_end(steps: Generator[RunEvent, None, Result]) -> Result:
    """What a generator returns at its end; nobody hears what it says until then."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _read_settings(folder: Path) -> tuple[ExperimentConfig, Label, str]:
    """The settings of a run, what it is called, and the fingerprint of the data it began with."""
    header = read_header(folder)
    if "config" not in header:
        raise LogsError(f"{folder / 'run.json'} is missing or damaged", "start a new run")
    reported = parse_reported(header.get("reported", []))
    label = Label(header.get("preset", "custom"), header.get("name", ""), (), reported)
    return parse_config(header["config"]), label, str(header.get("data", {}).get("sha256", ""))


def _prepare(
    config: ExperimentConfig, context: SessionContext, recorder: Recorder
) -> Generator[RunEvent, None, tuple[Plan, Prepared]]:
    """The plan, and the data ready to train on; slow steps are told as stages.

    Of several ranks the leader comes first: it settles what is automatic, and fetches and decodes for all.
    """
    ranks = context.ranks
    if not ranks.is_leader:
        ranks.wait_for_leader("prepared")
        config = parse_config(ranks.broadcast(dict[str, Any]()))
    plan = make_plan(config, context.data_root, ranks.rank)
    if plan.config.training.precision == "auto":
        yield recorder(StageStarted(message="measuring whether bf16 is faster"))
        plan = with_precision(plan, choose_precision(plan))
    dataset = open_dataset(plan.config.data, context.data_root)
    steps = prepare(dataset, plan.config.training.seed, plan.config.data.source == "streamed")
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            prepared: Prepared = end.value
            break
        yield recorder(StageStarted(message=progress.message, done=progress.done, total=progress.total))
    if ranks.is_leader:
        ranks.wait_for_leader("prepared")
        ranks.broadcast(to_plain(plan.config))
    check_equal(ranks, prepared.fingerprint, "data set")
    return plan, prepared


def _attempt(
    start: Callable[[], Generator[RunEvent, None, TrainingJob]],
    recorder: Recorder,
    control: Inbox | None,
    context: SessionContext,
    folder: Path,
) -> Generator[RunEvent]:
    """One attempt from its first stage to its last event; what ends a rank is not in the log, but told to be."""
    if not _ONE_TRAINING.acquire(blocking=False):
        busy = BusyError("another training runs in this process", "wait for its end, or start another process")
        yield recorder(RunFailed(error=failure_of(busy)))
        return
    failure: Failure | None = None
    try:
        try:
            # Held by no name here, so that its memory is free when the heap is given back.
            yield from _train((yield from start()), folder, recorder, control or Control(), context)
        except Exception as error:  # noqa: BLE001 - a failure of any kind is the last event
            failure = failure_of(error)
        if failure:
            # Only here is the traceback gone, and with it the model and its data; a next run may need their memory.
            # A device that is lost raises in each of these; the failure is told all the same.
            _tried(gc.collect)
            _tried(release_memory)
            with suppress(Exception):
                failure = with_advice(failure, recorder.record, recorder.plan)
            if context.ranks.world > 1:
                recorder.failed = failure
                yield RunFailed(error=failure)
            else:
                yield recorder(RunFailed(error=failure))
    finally:
        # In reverse: whoever goes on with a run that is handed over needs the memory as soon as the lock is free.
        with ExitStack() as steps:
            steps.callback(_ONE_TRAINING.release)
            steps.callback(_tried, recorder.close)
            steps.callback(_tried, release_memory)


def _tried(step: Callable[[], object]) -> None:
    """Clean up as far as that works: what one step raises must not keep the next from being done."""
    with suppress(Exception):
        step()


def _train(
    job: TrainingJob, folder: Path, recorder: Recorder, control: Inbox, context: SessionContext
) -> Iterator[RunEvent]:
    disk = context.disk
    inbox = _open_inbox(folder, recorder, control, context)
    saver = Saver(job, recorder, folder, disk)
    sampler = open_sampler(job.plan.device)
    pacer = Pacer(inbox, context.clock, context.sample_every, sampler, job.ranks)
    training = job.plan.config.training
    for message in job.ranks.warnings:
        yield recorder(WarningRaised(message=message))
    if training.compile:
        yield recorder(StageStarted(message="compiling the model"))
    if training.on_divergence == "roll-back" and job.position.step == 0:
        yield from saver.save_now()
    outcome: tuple[RunStatus, str] | None = None
    while outcome is None:
        try:
            with detecting_suspends(recorder.look) as detector:
                pacer.take_suspended_seconds = detector.take_suspended_seconds
                outcome = yield from _train_until_stopped(pacer, saver, inbox)
            recorder.look()
            yield from recorder.news()
            if outcome[0] != "handed_over":
                yield from saver.save_last(completed=outcome[0] == "completed")
        except DivergedError as error:
            home = Path(job.ranks.broadcast(str(saver.home)))
            yield recorder(roll_back(job, home / "checkpoints", error, disk))
    status, reason = outcome
    yield recorder(
        RunCompleted(
            status=status,
            reason=reason,
            epoch=epochs_done(recorder.record),
            step=job.position.step,
            train_seconds=recorder.record.train_seconds,
            peak_memory=max(job.ranks.gather_values(peak_memory(job.plan.device))),
        )
    )


def _open_inbox(folder: Path, recorder: Recorder, control: Inbox, context: SessionContext) -> Inbox:
    """Where commands come in: of several ranks the leader hears them and passes them on."""
    if not (writer := recorder.writer):
        return Control()
    return FolderControl(control, folder, context.clock, writer=writer)


def _train_until_stopped(pacer: Pacer, saver: Saver, inbox: Inbox) -> Generator[RunEvent, None, tuple[RunStatus, str]]:
    """Train to an outcome and its reason, and save what events ask for."""
    job, recorder = saver.job, saver.recorder
    loop = train(job, pacer)
    while True:
        try:
            event = next(loop)
        except StopIteration as end:
            return end.value
        yield recorder(event)
        yield from _save_for(saver, event)
        if isinstance(event, CommandApplied) and event.command == "hand-over":
            if hand_over.is_checkpointed(recorder.record, job.position.step):
                loop.close()
                if isinstance(inbox, FolderControl):
                    hand_over.forward_commands(inbox, pacer)
                return "handed_over", event.reason
            yield recorder(WarningRaised(message="the run was not handed over: it goes on where it is"))


def _save_for(saver: Saver, event: RunEvent) -> Iterator[RunEvent]:
    """What an event asks to be saved."""
    match event:
        case EpochCompleted():
            yield from saver.save_epoch(event)
        case CommandApplied(command="checkpoint" | "hand-over"):
            yield from saver.save_now()
        case _:
            pass
