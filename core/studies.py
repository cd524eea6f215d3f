"""A study as an iterator of events: claim its runs one after another, train each in a process of its own, tell all.

The runs' last events are the truth. The queue is told what they say, never the other way round, so a finished run is
not repeated and an interrupted one goes on in its own directory.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import parse_config, to_plain, with_overrides
from core.control import Control, Inbox
from core.errors import BusyError, ConfigError, InputError, TorchdeckError
from core.events import DeviceSampled, EpochCompleted, Failure, FailureKind, StepCompleted
from core.forks import ForkServer
from core.launch import Starter, Worker, start_worker
from core.locks import take_lock
from core.logs import EventReader, is_run, load_record, new_run_id
from core.record import RunRecord
from core.slots import Slot
from core.space import override_texts
from core.study import (
    DONE,
    KILLED,
    PRUNED,
    Search,
    Study,
    StudyRun,
    clear_unborn,
    hold,
    load_study,
    save_study,
    settled_run,
    take_stop,
)
from core.study_events import (
    RunBegan,
    RunEnded,
    RunSaid,
    StudyEnded,
    StudyEvent,
    StudyStarted,
    StudyWarned,
)

if TYPE_CHECKING:
    from optuna.trial import Trial

    from core.trial_queue import TrialQueue

MOST_RETRIES = 1
"""How often a run whose process was killed is tried again by the same study process."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What varies around a study: where its runs train and find their data, for how long, and the clocks (seconds).

    `start` begins one run in one of the slots; without it, that is a process on this machine. `left_over` tells which
    runs of a study a cluster still has that an earlier process gave to it: `start` takes those up.
    """

    data: Path
    slots: tuple[Slot, ...] = (Slot("auto"),)
    retry_failed: bool = False
    budget: float | None = None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    poll: float = 0.1
    start: Starter | None = None
    left_over: Callable[[Path], Collection[str]] = lambda _: ()


def run_study(folder: Path, control: Inbox | None = None, *, around: Circumstances) -> Iterator[StudyEvent]:
    """Work on a study until no run is left; every failure is the last event, nothing is raised.

    A stop by control stops its runs with a checkpoint; the same call later goes on where they stand.
    """
    try:
        lock = hold(folder)
    except TorchdeckError as error:
        yield StudyEnded(None, "failed", error.message, _failure(error))
        return
    try:
        yield from _locked(folder, control or Control(), around)
    except Exception as error:  # noqa: BLE001 - a failure of any kind is the last event
        yield StudyEnded(None, "failed", str(error), _failure(error))
    finally:
        os.close(lock)


def _failure(error: Exception) -> Failure:
    kind: FailureKind = (
        "input" if isinstance(error, InputError) else "busy" if isinstance(error, BusyError) else "crash"
    )
    message, mend = (error.message, error.mend) if isinstance(error, TorchdeckError) else (str(error), "")
    return Failure(kind, type(error).__name__, message, mend, "".join(traceback.format_exception(error)))


def _locked(folder: Path, control: Inbox, around: Circumstances) -> Generator[StudyEvent]:
    take_stop(folder)
    living = yield from _last_worker_gone(folder, control)
    if living is None:
        yield StudyEnded(None, "stopped", "asked to stop while runs of an earlier process were stopping")
        return
    try:
        with closing(ForkServer()) as server:
            start = around.start or partial(start_worker, server=server)
            with closing(Executor(folder, control, around, start, living)) as executor:
                yield from executor.events()
    finally:
        os.close(living)


def _last_worker_gone(folder: Path, control: Inbox) -> Generator[StudyEvent, None, int | None]:
    """The lock that every worker of the study keeps while it lives, once nobody has it; None where a stop came first.

    After a kill of the study's process its workers stop by themselves, with a checkpoint, within a batch.
    """
    told = False
    while True:
        with suppress(BlockingIOError):
            return take_lock(folder / "workers.lock")
        if not told:
            yield StudyWarned("runs of an earlier process are still stopping; waiting for them")
            told = True
        if (command := control.take()) and command[0] == "stop":
            return None
        control.wait(0.2)


@dataclass(slots=True)
class _Active:
    """A run that trains: what trains it, its trial, and what its log said so far."""

    run: StudyRun
    trial: Trial
    worker: Worker
    reader: EventReader
    earlier: int
    record: RunRecord = field(default_factory=RunRecord)
    reported: set[int] = field(default_factory=set[int])
    pruned: bool = False


class Executor:
    """One process's work on a study whose lock it holds."""

    def __init__(self, folder: Path, control: Inbox, around: Circumstances, start: Starter, living: int) -> None:
        # optuna 0.3 s, loaded only where a study is run.
        from core.trial_queue import TrialQueue

        self.folder, self.logs = folder, folder.parent
        self._control, self._around, self._start, self._living = control, around, start, living
        left = around.left_over(folder)
        self.study = _prepared(load_study(folder, active=False), around.retry_failed, left)
        self._queue: TrialQueue = TrialQueue(folder, self.study, _epochs(self.study))
        self._left = [run.number for run in self.study.runs if run.run_id in left and run.state not in DONE]
        self._queue.reconcile(self.study.runs, self._figure, self._left)
        self._active: dict[str, _Active] = {}
        self._deaths: dict[int, int] = {}
        self._stopping = ""
        self._end_by = None if around.budget is None else around.clock() + around.budget
        (folder / "workers").mkdir(exist_ok=True)

    def events(self) -> Iterator[StudyEvent]:
        """All that happens until no run is left, or a stop has been carried out."""
        self._save()
        yield StudyStarted(self.study, tuple(slot.name for slot in self._around.slots))
        yield from self._take_over()
        while True:
            self._look_for_a_stop()
            for slot, active in list(self._active.items()):
                yield from self._follow(slot, active)
            if not self._stopping:
                yield from self._fill()
            if not self._active:
                break
            self._control.wait(self._around.poll)
        yield self._ended()

    def close(self) -> None:
        """Let go of the workers: those that still train stop with a checkpoint by themselves."""
        for active in self._active.values():
            active.worker.close()

    def _save(self) -> None:
        save_study(self.folder, self.study)

    def _put(self, run: StudyRun) -> None:
        self.study = self.study.with_run(run)
        self._save()

    def _look_for_a_stop(self) -> None:
        if self._stopping:
            return
        command = self._control.take()
        if command and command[0] == "stop":
            self._stopping = command[1] or "asked to stop"
        elif take_stop(self.folder):
            self._stopping = "asked for by another process"
        elif self._end_by is not None and self._around.clock() >= self._end_by:
            self._stopping = "the time budget is used up"
        if self._stopping:
            for active in self._active.values():
                active.worker.ask("stop", self._stopping)

    def _take_over(self) -> Iterator[StudyEvent]:
        """Look after the runs that are trained already, before any other begins."""
        for slot, number in zip(self._around.slots, self._left, strict=False):
            if trial := self._queue.still_open(number):
                yield self._begin(slot, self.study.runs[number], trial)
                self._active[slot.name].earlier -= 1

    def _fill(self) -> Iterator[StudyEvent]:
        """Begin a run in each free slot, as long as there are runs to do."""
        for slot in self._around.slots:
            while slot.name not in self._active:
                claimed = self._queue.claim(len(self.study.runs) < self.study.planned)
                if claimed is None:
                    return
                trial, number, settings = claimed
                run = self._drawn(trial, settings) if number is None else self.study.runs[number]
                if run.state not in DONE:
                    yield self._begin(slot, run, trial)
                    continue
                self._queue.end(trial, run, self._figure)
                if number is None:
                    yield RunEnded(run)

    def _drawn(self, trial: Trial, settings: Mapping[str, Any]) -> StudyRun:
        """A new run of a search; settings that do not go together make it a failed one."""
        search, number = self.study.search, len(self.study.runs)
        assert search
        run = drawn_run(search, number, self.study.preset, settings)
        # In this order: a trial without a run is dropped when the study is opened again, a run without one enqueued.
        self._put(run)
        self._queue.number(trial, number)
        return run

    def _begin(self, slot: Slot, run: StudyRun, trial: Trial) -> RunBegan:
        resumed = bool(run.run_id) and is_run(self.logs / str(run.run_id))
        if run.run_id and not resumed:
            clear_unborn(self.logs, run.run_id)
        run_id = run.run_id if run.run_id and resumed else new_run_id(run.preset, self._around.now())
        begun = replace(run, run_id=run_id, state="running", reason="", place="")
        # Written before the process starts: whatever dies now, the run is found under its id.
        self._put(begun)
        console = self.folder / "workers" / f"{run.number:04}.log"
        worker = self._start(self._request(slot, begun, resumed), console, self._living, slot)
        earlier = load_record(self.logs / run_id).attempt if resumed else 0
        active = _Active(begun, trial, worker, EventReader(self.logs / run_id), earlier)
        self._active[slot.name] = active
        self._place(active)
        return RunBegan(active.run, slot.name, resumed)

    def _place(self, active: _Active) -> None:
        """Note where a run trains, which a cluster may tell late."""
        if active.run.place != active.worker.place:
            active.run = replace(active.run, place=active.worker.place)
            self._put(active.run)

    def _request(self, slot: Slot, run: StudyRun, resumed: bool) -> dict[str, Any]:
        return {
            "logs": str(self.logs),
            "data": str(self._around.data),
            "run_id": run.run_id,
            "resume": resumed,
            "preset": run.preset,
            "name": run.label,
            "tags": list(self.study.tags),
            "reported": [figure for figure in run.reported if "/" in str(figure["metric"])],
            "study": {"id": self.study.study_id, "number": run.number},
            "config": placed(run.config, slot),
        }

    def _follow(self, slot: str, active: _Active) -> Iterator[StudyEvent]:
        """What a run's log says new; whether a search had better prune it; how it ended."""
        ended = active.worker.ended
        self._place(active)
        for event in active.reader.read():
            active.record.apply(event)
            if isinstance(event, EpochCompleted):
                self._report(active, event)
            if event.attempt > active.earlier and not isinstance(event, StepCompleted | DeviceSampled):
                yield RunSaid(active.run.number, str(active.run.run_id), event)
        if ended:
            del self._active[slot]
            active.worker.close()
            yield self._end(active)

    def _report(self, active: _Active, event: EpochCompleted) -> None:
        search = self.study.search
        if search is None or search.metric not in event.metrics or event.epoch in active.reported:
            return
        active.reported.add(event.epoch)
        self._queue.report(active.trial, event.epoch, event.metrics[search.metric])
        last = event.epoch >= int(active.run.config["training"]["epochs"])
        if last or active.pruned or self._stopping or event.attempt <= active.earlier:
            return
        if reason := self._queue.prune_reason(active.trial):
            active.pruned = True
            active.worker.ask("stop", PRUNED + reason)

    def _end(self, active: _Active) -> RunEnded:
        """Tell the queue how a run ended; one whose process was killed is tried again."""
        run = settled_run(self.logs, active.run)
        if run.state in ("waiting", "stopped") and (failure := active.worker.failure()):
            run = replace(run, state="failed", reason=failure.error.message)
        died = run.state in ("waiting", "stopped") and run.reason in ("", KILLED) and not self._stopping
        if died:
            run = self._died(replace(run, run_id=active.run.run_id), active.worker.death())
        self._put(run)
        self._queue.end(active.trial, run, self._figure)
        if died and run.state == "stopped":
            self._queue.enqueue(run)
        return RunEnded(run)

    def _died(self, run: StudyRun, death: str) -> StudyRun:
        self._deaths[run.number] = self._deaths.get(run.number, 0) + 1
        if self._deaths[run.number] > MOST_RETRIES:
            return replace(run, state="failed", reason=f"{death}, {self._deaths[run.number]} times")
        return replace(run, state="stopped", reason=f"{death}; tried again")

    def _figure(self, run: StudyRun) -> float | None:
        """The best figure of a run, by the study's own measure."""
        search = self.study.search
        metric, up = (search.metric, search.direction == "maximize") if search else ("test/accuracy", True)
        if not run.run_id:
            return None
        epochs = load_record(self.logs / run.run_id).epochs
        seen = [epoch.metrics[metric] for epoch in epochs if metric in epoch.metrics]
        return (max(seen) if up else min(seen)) if seen else None

    def _ended(self) -> StudyEnded:
        search = self.study.search
        if search and (importance := self._queue.importance()):
            self.study = replace(self.study, search=replace(search, importance=importance))
            self._save()
        if self._stopping or not self.study.finished:
            return StudyEnded(self.study, "stopped", self._stopping or "some of its runs are left to do")
        return StudyEnded(self.study, "failed" if self.study.count("failed") else "completed")


def _prepared(study: Study, retry_failed: bool, left: Collection[str]) -> Study:
    """The study as its runs are to be done: failed ones wait again where a person wants that."""

    def prepared(run: StudyRun) -> StudyRun:
        if retry_failed and run.state == "failed":
            return replace(run, state="waiting", reason="")
        # Whoever trains it is yet to be looked after.
        return replace(run, state="stopped") if run.run_id in left and run.state == "running" else run

    return replace(study, runs=tuple(map(prepared, study.runs)))


def _epochs(study: Study) -> int:
    """The most epochs that a run of a search trains, as its base has them."""
    training: Mapping[str, Any] = study.search.base.get("training", {}) if study.search else {}
    return int(training.get("epochs", 10))


def drawn_run(search: Search, number: int, preset: str, settings: Mapping[str, Any]) -> StudyRun:
    """The run of settings that a search drew; failed from the start where they do not go together."""
    label = " ".join(f"{path.partition('.')[2]}={_short(value)}" for path, value in settings.items())
    content = with_overrides(search.base, override_texts(settings))
    try:
        return StudyRun(number, label, settings, preset, to_plain(parse_config(content)))
    except ConfigError as error:
        return StudyRun(number, label, settings, preset, content, state="failed", reason=error.message)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def placed(config: Mapping[str, Any], slot: Slot) -> dict[str, Any]:
    """The config for a slot: its device and threads, where the config leaves them open."""
    training = dict(config["training"])
    if training.get("device", "auto") == "auto":
        training["device"] = slot.device
    if training.get("threads", "auto") == "auto" and slot.threads is not None:
        training["threads"] = slot.threads
    return {**config, "training": training}
