"""One process's work on a study: it fills its slots with runs, follows them, and takes up what others left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.control import Inbox
from core.elsewhere import Elsewhere
from core.events import EpochCompleted
from core.launch import Starter, Worker, place_of
from core.ledger import Ledger, tried_again
from core.logs import EventReader, is_locked, is_run, load_record, new_run_id
from core.parents import Parent, lives, living, workers_live
from core.record import RunRecord
from core.slots import Slot
from core.study import HOLD, KILLED, PRUNED, Study, StudyRun, clear_unborn, settled_run
from core.study_events import RunBegan, RunEnded, RunSaid, StudyEnded, StudyEvent, StudyStarted, is_told
from core.study_requests import drawn_run, request_of

if TYPE_CHECKING:
    from optuna.trial import Trial

    from core.trial_queue import TrialQueue

Told = TypeVar("Told", RunBegan, RunEnded)
MOST_RETRIES = 1
"""How often a run that was killed is tried again."""

LOOK_EVERY = 0.5
"""Seconds between two looks at what other processes do."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What varies around a study: where its runs train and find their data, for how long, and the clocks (seconds).

    `start` begins one run in one of the slots; without it, that is a process on this machine. `left_over` tells which
    runs of a study a cluster of this name still has that an earlier process gave to it: `start` takes those up. To
    `join` is to work on the study beside other processes.
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
    cluster: str = ""
    join: bool = False


@dataclass(slots=True)
class _Active:
    """A run that trains: what trains it, its trial, and what its log said so far."""

    number: int
    trial: Trial
    worker: Worker
    reader: EventReader
    earlier: int
    record: RunRecord = field(default_factory=RunRecord)
    reported: set[int] = field(default_factory=set[int])
    asked: bool = False
    """Whether this process asked it to stop."""

    def ask(self, reason: str) -> None:
        """Ask it to stop, once."""
        if not self.asked:
            self.asked = True
            self.worker.ask("stop", reason)


class Executor:
    """One process's work on a study, beside others perhaps."""

    def __init__(self, ledger: Ledger, parent: Parent, control: Inbox, around: Circumstances, start: Starter) -> None:
        # optuna 0.3 s, loaded only where a study is run.
        from core.trial_queue import TrialQueue

        self.folder, self.logs = ledger.folder, ledger.folder.parent
        self._ledger, self._parent, self._control = ledger, parent, control
        self._around, self._start = around, start
        self._active: dict[str, _Active] = {}
        self._stopping = ""
        self._end_by = None if around.budget is None else around.clock() + around.budget
        (self.folder / "workers").mkdir(exist_ok=True)
        left = around.left_over(self.folder)
        with ledger.held():
            self._take_stock(left)
            alone = living(self.folder) == [parent.name]
            self._queue: TrialQueue = TrialQueue(self.folder, self.study, _epochs(self.study), alone=alone)
            self._left_over = [run.number for run in self.study.runs if run.run_id in left and run.to_do]
            self._queue.reconcile(self.study.runs, self._figure, self._left_over)
        self._elsewhere = Elsewhere(self.logs, parent.name, self.study)
        self._looked = around.clock() - LOOK_EVERY

    @property
    def study(self) -> Study:
        """The study with what this process, and others, told of its runs."""
        return self._ledger.study

    def _take_stock(self, left: Collection[str]) -> None:
        """Put down what the runs' directories say, but of those that other processes train."""
        for run in self.study.runs:
            if run.state == "running" and lives(self.folder, run.parent):
                continue
            if run.state in ("completed", "pruned") and is_run(self.logs / str(run.run_id)):
                continue
            if self._around.retry_failed and run.state == "failed":
                run = tried_again(run)
            found = settled_run(self.logs, run)
            # Whoever trains one that is left to a cluster is yet to be looked after.
            taken = found.state == "running" and found.run_id in left
            self._ledger.put(replace(found, state="stopped") if taken else found)

    @contextmanager
    def _step(self) -> Generator[None]:
        """Hold the study's lock, with a queue that is whole."""
        with self._ledger.held():
            self._queue.mend()
            yield

    def events(self) -> Iterator[StudyEvent]:
        """All that happens until no run is left here or elsewhere, or a stop has been carried out."""
        yield StudyStarted(self.study, tuple(slot.name for slot in self._around.slots))
        yield from self._take_over()
        while True:
            self._look_for_a_stop()
            for slot, active in list(self._active.items()):
                yield from self._follow(slot, active)
            yield from self._look_around()
            if not self._stopping:
                yield from self._fill()
            if not self._active and (self._stopping or not self._left()):
                break
            self._parent.beat(self._around.clock())
            self._control.wait(self._around.poll)
        yield self._ended()

    def _left(self) -> bool:
        """Whether a run trains elsewhere, or is to be done."""
        return len(self.study.runs) < self.study.planned or any(
            run.to_do or run.state == "running" for run in self.study.runs
        )

    def close(self) -> None:
        """Let go of the workers: those that still train stop with a checkpoint by themselves."""
        for active in self._active.values():
            active.worker.close()

    def _look_for_a_stop(self) -> None:
        if self._stopping:
            return
        command = self._control.take()
        if command and command[0] == "stop":
            self._stopping = command[1] or "asked to stop"
        elif self._parent.take_stop():
            self._stopping = "asked for by another process"
        elif self._end_by is not None and self._around.clock() >= self._end_by:
            self._stopping = "the time budget is used up"
        if self._stopping:
            for active in self._active.values():
                active.ask(self._stopping)

    # What others do

    def _look_around(self) -> Iterator[StudyEvent]:
        """What other processes and people changed, and what those that are gone left to do."""
        self._ledger.refresh()
        for active in self._active.values():
            if self.study.runs[active.number].wish == "hold":
                active.ask(HOLD)
        now = self._around.clock()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        for run in self.study.runs:
            if run.state == "running" and run.parent != self._parent.name and not lives(self.folder, run.parent):
                self._take_up(run)
        yield from self._elsewhere.look(self.study)

    def _take_up(self, run: StudyRun) -> None:
        """Put a run whose parent is gone back into the queue, once nobody trains it any more."""
        folder = self.logs / str(run.run_id)
        if is_locked(folder) or (not is_run(folder) and workers_live(self.folder, run.parent)):
            return
        with self._step():
            if self.study.runs[run.number] == run:
                self._ledger.put(settled := settled_run(self.logs, run))
                self._queue.settle(settled, self._figure)

    # A run from its claim to its end

    def _take_over(self) -> Iterator[StudyEvent]:
        """Look after the runs that a cluster trains already, before any other begins."""
        for slot, number in zip(self._around.slots, self._left_over, strict=False):
            with self._step():
                trial = self._queue.still_open(number)
                run = self._reserved(self.study.runs[number], slot, resumed=True) if trial else None
            if run and trial:
                yield self._begin(slot, run, trial, resumed=True)
                self._active[slot.name].earlier -= 1

    def _fill(self) -> Iterator[StudyEvent]:
        """Begin a run in each free slot, as long as there are runs to do."""
        for slot in self._around.slots:
            while slot.name not in self._active and self._may_claim():
                with self._step():
                    claimed = self._claim()
                    if claimed is None:
                        return
                    run, trial = claimed
                    resumed = is_run(self.logs / str(run.run_id))
                    if run.to_do:
                        run = self._reserved(run, slot, resumed)
                    else:
                        self._queue.end(trial, run, self._figure)
                # A search's runs are told in the order of their numbers.
                yield from self._elsewhere.look(self.study)
                if run.state == "running":
                    yield self._begin(slot, run, trial, resumed)
                elif run.state == "failed":
                    yield self._told(RunEnded(run))

    def _may_claim(self) -> bool:
        return len(self.study.runs) < self.study.planned or any(run.to_do for run in self.study.runs)

    def _claim(self) -> tuple[StudyRun, Trial] | None:
        """The next run of the queue with its trial; None where nothing is left to do."""
        may_draw = len(self.study.runs) < self.study.planned
        claimed = self._queue.claim(may_draw)
        if claimed is None:
            # What a person wants tried again, or a process left that was killed between two files.
            self._queue.reconcile(self.study.runs, self._figure)
            claimed = self._queue.claim(may_draw)
        if claimed is None:
            return None
        trial, number, settings = claimed
        return (self._drawn(trial, settings) if number is None else self.study.runs[number]), trial

    def _drawn(self, trial: Trial, settings: Mapping[str, Any]) -> StudyRun:
        """A new run of a search; settings that do not go together make it a failed one."""
        search, number = self.study.search, len(self.study.runs)
        assert search
        run = replace(drawn_run(search, number, self.study.preset, settings), parent=self._parent.name)
        # In this order: a trial without a run is dropped when the study is opened again, a run without one enqueued.
        self._ledger.put(run)
        self._queue.number(trial, number)
        return run

    def _reserved(self, run: StudyRun, slot: Slot, resumed: bool) -> StudyRun:
        """A run that this process is about to begin: whatever dies from now on, it is found under its id."""
        if run.run_id and not resumed:
            clear_unborn(self.logs, run.run_id)
        run_id = run.run_id if run.run_id and resumed else new_run_id(run.preset, self._around.now())
        changed = replace(run, run_id=run_id, state="running", reason="", wish="")
        self._ledger.put(reserved := replace(changed, place=place_of(slot), parent=self._parent.name))
        return reserved

    def _begin(self, slot: Slot, run: StudyRun, trial: Trial, resumed: bool) -> RunBegan:
        console, folder = self.folder / "workers" / f"{run.number:04}.log", self.logs / str(run.run_id)
        request = request_of(self.study, run, slot, self.logs, self._around.data, resumed)
        worker = self._start(request, console, self._parent.workers, slot)
        earlier = load_record(folder).attempt if resumed else 0
        self._active[slot.name] = active = _Active(run.number, trial, worker, EventReader(folder), earlier)
        self._place(active)
        return self._told(RunBegan(self.study.runs[run.number], slot.name, resumed))

    def _told(self, event: Told) -> Told:
        """An event of this process's own, which is no news from elsewhere."""
        self._elsewhere.know(event.run)
        return event

    def _place(self, active: _Active) -> None:
        """Note where a run trains, which a cluster may tell late."""
        if self.study.runs[active.number].place != active.worker.place:
            with self._ledger.held():
                self._ledger.put(replace(self.study.runs[active.number], place=active.worker.place))

    def _follow(self, slot: str, active: _Active) -> Iterator[StudyEvent]:
        """What a run's log says new; whether a search had better prune it; how it ended."""
        ended = active.worker.ended
        self._place(active)
        for event in active.reader.read():
            active.record.apply(event)
            if isinstance(event, EpochCompleted):
                self._report(active, event)
            if event.attempt > active.earlier and is_told(event):
                yield RunSaid(active.number, str(self.study.runs[active.number].run_id), event)
        if ended:
            del self._active[slot]
            active.worker.close()
            yield self._end(active)

    def _report(self, active: _Active, event: EpochCompleted) -> None:
        search = self.study.search
        if search is None or search.metric not in event.metrics or event.epoch in active.reported:
            return
        active.reported.add(event.epoch)
        last = event.epoch >= int(self.study.runs[active.number].config["training"]["epochs"])
        with self._step():
            self._queue.report(active.trial, event.epoch, event.metrics[search.metric])
            if last or active.asked or event.attempt <= active.earlier:
                return
            reason = self._queue.prune_reason(active.trial)
        if reason:
            active.ask(PRUNED + reason)

    def _end(self, active: _Active) -> RunEnded:
        """Tell the queue how a run ended: one that was killed is tried again, one that a person stopped is on hold."""
        with self._step():
            begun = self.study.runs[active.number]
            run = settled_run(self.logs, begun)
            if run.state in ("waiting", "stopped") and (failure := active.worker.failure()):
                run = replace(run, state="failed", reason=failure.error.message)
            if run.to_do and not active.asked:
                if run.reason in ("", KILLED) or run.reason.startswith("signal "):
                    run = _died(replace(run, run_id=begun.run_id), active.worker.death())
                else:
                    run = settled_run(self.logs, replace(begun, wish="hold"))
            self._ledger.put(run)
            self._queue.end(active.trial, run, lambda _: self._best(active.record))
            if run.to_do:
                self._queue.enqueue(run)
        return self._told(RunEnded(run))

    def _figure(self, run: StudyRun) -> float | None:
        """The best figure of a run, by the study's own measure."""
        return self._best(load_record(self.logs / run.run_id)) if run.run_id else None

    def _best(self, record: RunRecord) -> float | None:
        search = self.study.search
        metric, up = (search.metric, search.direction == "maximize") if search else ("test/accuracy", True)
        seen = [epoch.metrics[metric] for epoch in record.epochs if metric in epoch.metrics]
        return (max(seen) if up else min(seen)) if seen else None

    def _ended(self) -> StudyEnded:
        if self.study.search and self.study.finished:
            with self._step():
                if importance := self._queue.importance():
                    self._ledger.put_importance(importance)
        if self._stopping or not self.study.finished:
            held = any(run.wish == "hold" for run in self.study.runs)
            left = "some of its runs are on hold" if held else "some of its runs are left to do"
            return StudyEnded(self.study, "stopped", self._stopping or left)
        return StudyEnded(self.study, "failed" if self.study.count("failed") else "completed")


def _died(run: StudyRun, death: str) -> StudyRun:
    deaths = run.deaths + 1
    if deaths > MOST_RETRIES:
        return replace(run, deaths=deaths, state="failed", reason=f"{death}, {deaths} times")
    return replace(run, deaths=deaths, state="stopped", reason=f"{death}; tried again")


def _epochs(study: Study) -> int:
    """The most epochs that a run of a search trains, as its base has them."""
    training: Mapping[str, Any] = study.search.base.get("training", {}) if study.search else {}
    return int(training.get("epochs", 10))
