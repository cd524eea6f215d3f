"""Run or resume a training in this process, as an iterator of events: plan, prepare data, train, record, save."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import ExperimentConfig, parse_config, to_plain
from ..control import Control, Inbox
from ..data import open_dataset
from ..data.image_spec import Progress
from ..data.prepare import Prepared, prepare
from ..devices.torch_device import open_sampler, peak_memory
from ..errors import BusyError, DivergedError, LogsError, explained
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
from ..runs import checkpoint
from ..runs.changed_settings import check_unfinished, stays_exact
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
from ..training.starting_weights import fetch_weights
from ..training.state import TrainingJob, build_job, configure_process
from ..utils.files import DISK, Disk
from ..utils.generators import mapped, run_to_end
from . import handover as hand_over
from .out_of_memory import release_memory, with_advice
from .recorder import Recorder, epochs_done
from .restore import restore_newest, roll_back
from .run_header import failure_of, header_of, started_event
from .saver import Saver
from .suspend_detector import detecting_suspends

_ONE_TRAINING = threading.Lock()


@dataclass(frozen=True, slots=True)
class SessionContext:
    """The surroundings of a run: data folder, clocks, disk, seconds between two step events, and the ranks."""

    data_root: Path
    clock: Callable[[], float] = time.perf_counter
    now: Callable[[], float] = time.time
    sample_every: float = 0.1
    wait: Callable[[float], object] = time.sleep
    disk: Disk = DISK
    ranks: Ranks = SINGLE
    """This process among those of a run on several devices."""
    rank_timeouts: RankTimeouts = DEFAULT_RANK_TIMEOUTS
    """Timeout and retries of a run on several devices."""


def run(
    config: ExperimentConfig,
    logs: Path,
    control: Inbox | None = None,
    *,
    context: SessionContext,
    label: Label | None = None,
    run_id: str = "",
) -> Iterator[RunEvent]:
    """Train a config and record it in a new folder of `logs`, yielding events.

    Nothing happens before the first `next()`. Nothing is raised: every failure is the last event, a `RunFailed`. An
    invalid request fails before anything is written to disk. Pass a `run_id` made by `new_run_id` to know the folder
    in advance.
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
    """Resume a stopped or dead run from its newest valid checkpoint, or from the start where there is none.

    With `take_over` the run is still active in another process: that one trains on until this process is ready, then
    it is asked to save the run and let go of it. Like `run`, this yields events and raises nothing.
    """
    ranks = context.ranks
    recorder = Recorder(context.now, context.wait, silent=not ranks.is_leader)

    def start() -> Generator[RunEvent, None, TrainingJob]:
        config, label, fingerprint = _read_settings(folder)
        # A run with a checkpoint needs its first weights no more.
        pretrained = not checkpoint.steps(folder / "checkpoints")
        quiet = Recorder(context.now, context.wait)
        ready = run_to_end(_prepare(config, context, quiet, pretrained=pretrained)) if take_over else None
        writer = _open_writer(folder, control or Control(), context, take_over)
        try:
            _continue_record(folder, recorder)
            plan, prepared = ready or (yield from _prepare(config, context, recorder, pretrained=pretrained))
        except BaseException:
            if writer:
                writer.close()
            raise
        recorder.plan = plan
        if writer:
            recorder.attach(writer)
        configure_process(plan)
        job = build_job(plan, prepared, ranks, pretrained=pretrained)
        restored, same = restore_newest(job, folder / "checkpoints"), prepared.fingerprint == fingerprint
        check_equal(ranks, restored.step, "checkpoints")
        if restored.step is None and not pretrained:
            configure_process(plan)
            job = build_job(plan, prepared, ranks)
        before = recorder.record.started
        exact = same and (before is None or stays_exact(before.config, plan.config))
        yield recorder(started_event(job, prepared, label, folder.name, restored.step or 0, exact=exact))
        for message in restored.passed_over:
            yield recorder(WarningRaised(message=message))
        if not same:
            message = "the data set has changed since the run started: the resumed run is not an exact repetition"
            yield recorder(WarningRaised(message=message))
        return job

    yield from recorder.with_disk_events(_attempt(start, recorder, control, context, folder))


def _open_writer(folder: Path, control: Inbox, context: SessionContext, take_over: bool) -> RunWriter | None:
    """Lock the run and open its log, on the rank that writes; None on the others."""
    if not context.ranks.is_leader:
        return None
    disk = context.disk
    return hand_over.take_over_run(folder, control, disk=disk) if take_over else reopen(folder, disk)


def _continue_record(folder: Path, recorder: Recorder) -> None:
    """Start from the record of a locked run."""
    record = load_record(folder)
    ending = record.ending
    if isinstance(ending, RunCompleted) and ending.status == "completed" and record.started:
        check_unfinished(folder, record.started.config)
    recorder.record, recorder.attempt = record, record.attempt + 1
    record.ending = None


def _read_settings(folder: Path) -> tuple[ExperimentConfig, Label, str]:
    """The settings and the label of a run, and the fingerprint of the data that it started with, from its run.json."""
    header = read_header(folder)
    if "config" not in header:
        raise LogsError(f"{folder / 'run.json'} is missing or damaged", "start a new run")
    reported = parse_reported(header.get("reported", []))
    label = Label(header.get("preset", "custom"), header.get("name", ""), (), reported)
    return parse_config(header["config"]), label, str(header.get("data", {}).get("sha256", ""))


def _prepare(
    config: ExperimentConfig, context: SessionContext, recorder: Recorder, *, pretrained: bool = True
) -> Generator[RunEvent, None, tuple[Plan, Prepared]]:
    """Make the plan and prepare the data; slow steps are reported as stages.

    With several ranks the leader goes first: it resolves automatic settings, and downloads and decodes for all.
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

    def stage(part: Progress) -> RunEvent:
        return recorder(StageStarted(message=part.message, done=part.done, total=part.total))

    if pretrained:
        yield from map(stage, fetch_weights(plan.config))
    prepared = yield from mapped(steps, stage)
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
    """One attempt from its first stage to its last event; the failure of a rank is left to the agent to record."""
    if not _ONE_TRAINING.acquire(blocking=False):
        busy = BusyError("another training is active in this process", "wait for its end, or use another process")
        yield recorder(RunFailed(error=failure_of(busy)))
        return
    failure: Failure | None = None
    try:
        try:
            # The job has no name here, so that its memory is free before `release_memory` is called.
            yield from _train((yield from start()), folder, recorder, control or Control(), context)
        except Exception as error:  # noqa: BLE001 - a failure of any kind is the last event
            has_log = recorder.record.started is not None
            failure = failure_of(error) if has_log else failure_of(explained(error) or error, "")
        if failure:
            # Only now is the traceback gone, and with it the model and its data: the next run may need their memory.
            # A lost device raises an error in each of these; the failure is reported all the same.
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
        # Called in reverse order: a process that takes the run over needs the memory as soon as the lock is free.
        with ExitStack() as steps:
            steps.callback(_ONE_TRAINING.release)
            steps.callback(_tried, recorder.close)
            steps.callback(_tried, release_memory)


def _tried(step: Callable[[], object]) -> None:
    """One step of the clean-up; what it raises must not keep the next steps from being done."""
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
            with detecting_suspends(recorder.check_folder) as detector:
                pacer.take_suspended_seconds = detector.take_suspended_seconds
                outcome = yield from _train_until_stopped(pacer, saver, inbox)
            recorder.check_folder()
            yield from recorder.disk_events()
            if outcome[0] != "handed_over":
                yield from saver.save_last(completed=outcome[0] == "completed")
        except DivergedError as error:
            home = Path(job.ranks.broadcast(str(saver.home)))
            rolled = roll_back(job, home / "checkpoints", error, disk)
            saver.forget_beyond(rolled.to_step)
            yield recorder(rolled)
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
    """The inbox of this process; of several ranks only the leader receives commands, and passes them on."""
    if not (writer := recorder.writer):
        return Control()
    return FolderControl(control, folder, context.clock, writer=writer)


def _train_until_stopped(pacer: Pacer, saver: Saver, inbox: Inbox) -> Generator[RunEvent, None, tuple[RunStatus, str]]:
    """Train until an outcome is reached, saving after events that ask for it; returns the outcome and its reason."""
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
            # What only this process has of the best epoch would go with it.
            whole = hand_over.is_checkpointed(recorder.record, job.position.step) and saver.best is None
            if job.ranks.broadcast(whole):
                loop.close()
                if isinstance(inbox, FolderControl):
                    hand_over.forward_commands(inbox, pacer)
                return "handed_over", event.reason
            yield recorder(WarningRaised(message="the run was not handed over: it continues in this process"))


def _save_for(saver: Saver, event: RunEvent) -> Iterator[RunEvent]:
    """Save what an event asks for."""
    match event:
        case EpochCompleted():
            yield from saver.save_epoch(event)
        case CommandApplied(command="checkpoint" | "hand-over"):
            yield from saver.save_now()
        case _:
            pass
