"""One process's work on a study: it fills its slots with runs, follows them, and takes up what others left."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..control import Inbox
from ..devices.slots import Slot
from ..events import EpochCompleted
from ..processes.launch import WorkerStarter, place_of
from ..runs.layout import is_locked, is_run, new_run_id
from ..runs.reader import EventReader, load_record
from ..utils.files import disk_error_text, is_disk_error
from .attempt import Attempt, best_figure, outcome_of
from .coordinators import Parent, lives, living, workers_live
from .events import RunBegan, RunEnded, StudyEnded, StudyEvent, StudyStarted, StudyWarned
from .ledger import Ledger, tried_again
from .model import HOLD, PRUNED, Study, StudyRun
from .peers import Elsewhere
from .requests import drawn_run, request_of
from .store import clear_unborn, load_study, settled_run

if TYPE_CHECKING:
    from optuna.trial import Trial

    from .trial_queue import TrialQueue

Told = TypeVar("Told", RunBegan, RunEnded)
LOOK_EVERY = 0.5
"""Seconds between two looks at what other processes do."""

RETRY_AFTER = 1.0
"""Seconds between two tries to put down what a disk refused."""


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
    start: WorkerStarter | None = None
    left_over: Callable[[Path], Collection[str]] = lambda _: ()
    cluster: str = ""
    join: bool = False


class Executor:
    """One process's work on a study, beside others perhaps."""

    def __init__(
        self, ledger: Ledger, parent: Parent, control: Inbox, around: Circumstances, start: WorkerStarter
    ) -> None:
        # optuna 0.3 s, loaded only where a study is run.
        from .trial_queue import TrialQueue

        self.folder, self.logs = ledger.folder, ledger.folder.parent
        self._ledger, self._parent, self._control = ledger, parent, control
        self._around, self._start = around, start
        self._active: dict[str, Attempt] = {}
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
        self._refusal = ""
        """Why the disk refuses what is to be put down; "" where it does not."""
        self._refused_at = 0.0

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
            self._queue.repair()
            yield

    def events(self) -> Iterator[StudyEvent]:
        """All that happens until no run is left here or elsewhere, or a stop has been carried out.

        What a disk refuses to put down is tried again until it does; meanwhile the runs that train go on.
        """
        yield StudyStarted(self.study, tuple(slot.name for slot in self._around.slots))
        while True:
            self._look_for_a_stop()
            for active in self._active.values():
                yield from active.listen()
            if not self._refusal or self._around.clock() - self._refused_at >= RETRY_AFTER:
                try:
                    yield from self._put_down()
                except OSError as error:
                    if not is_disk_error(error):
                        raise
                    yield from self._refused(error)
            if self._refusal and self._stopping and all(active.worker.ended for active in self._active.values()):
                # Nothing is lost: the runs' own directories tell whoever opens the study again.
                yield StudyEnded(load_study(self.folder), "stopped", f"{self._stopping}; {self._refusal}")
                return
            if not self._refusal and not self._active and (self._stopping or not self._left()):
                break
            self._parent.beat(self._around.clock())
            self._control.wait(self._around.poll)
        yield self._ended()

    def _put_down(self) -> Iterator[StudyEvent]:
        """All that changes the study's files: what was refused before is made good first."""
        if self._refusal:
            self._make_good()
            yield StudyWarned("the disk takes what becomes of the runs again")
            self._refusal = ""
        yield from self._take_over()
        for slot, active in list(self._active.items()):
            yield from self._follow(slot, active)
        yield from self._look_around()
        if not self._stopping:
            yield from self._fill()
        if not self._active and self.study.finished:
            self._rank_settings()

    def _refused(self, error: OSError) -> Iterator[StudyEvent]:
        """Begin to wait for a disk that refuses, or go on waiting."""
        if not self._refusal:
            told = "runs that train go on, no other begins until the disk takes what becomes of them"
            yield StudyWarned(f"{self.folder} cannot be written ({disk_error_text(error)}): {told}")
        self._refusal, self._refused_at = disk_error_text(error), self._around.clock()

    def _make_good(self) -> None:
        """Do as the next process would that opens the study: what was put down by halves is told by the runs."""
        active = {active.number for active in self._active.values()}
        with self._step():
            for run in self.study.runs:
                if run.state == "running" and run.parent == self._parent.name and run.number not in active:
                    self._ledger.put(settled := settled_run(self.logs, run))
                    self._elsewhere.know(settled)
            self._queue.reconcile(self.study.runs, self._figure)

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
        left, self._left_over = self._left_over, []
        for slot, number in zip(self._around.slots, left, strict=False):
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
                        self._queue.settle(run, self._figure)
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
        self._active[slot.name] = active = Attempt(
            run.number, str(run.run_id), trial, worker, EventReader(folder), earlier
        )
        self._place(active)
        return self._told(RunBegan(self.study.runs[run.number], slot.name, resumed))

    def _told(self, event: Told) -> Told:
        """An event of this process's own, which is no news from elsewhere."""
        self._elsewhere.know(event.run)
        return event

    def _place(self, active: Attempt) -> None:
        """Note where a run trains, which a cluster may tell late, and what its folder is called, which may change."""
        noted = self.study.runs[active.number]
        now = replace(noted, place=active.worker.place, run_id=active.run_id)
        if now != noted:
            with self._ledger.held():
                self._ledger.put(replace(self.study.runs[active.number], place=now.place, run_id=now.run_id))

    def _follow(self, slot: str, active: Attempt) -> Iterator[StudyEvent]:
        """Put down what a run said; whether a search had better prune it; how it ended."""
        self._place(active)
        while active.unreported:
            self._report(active, active.unreported[0])
            del active.unreported[0]
        if active.ended:
            run = self._end(active)
            del self._active[slot]
            active.worker.close()
            yield self._told(RunEnded(run))

    def _report(self, active: Attempt, event: EpochCompleted) -> None:
        search = self.study.search
        if search is None or search.metric not in event.metrics or event.epoch in active.reported:
            return
        last = event.epoch >= int(self.study.runs[active.number].config["training"]["epochs"])
        with self._step():
            self._queue.report(active.trial, event.epoch, event.metrics[search.metric])
            active.reported.add(event.epoch)
            if last or active.asked or event.attempt <= active.earlier:
                return
            reason = self._queue.prune_reason(active.trial)
        if reason:
            active.ask(PRUNED + reason)

    def _end(self, active: Attempt) -> StudyRun:
        """Tell the queue how a run ended; twice is as good as once."""
        with self._step():
            active.outcome = active.outcome or outcome_of(active, self.logs, self.study.runs[active.number])
            self._ledger.put(active.outcome)
            self._queue.settle(active.outcome, lambda _: best_figure(self.study, active.record))
            return active.outcome

    def _figure(self, run: StudyRun) -> float | None:
        """The best figure of a run, by the study's own measure."""
        return best_figure(self.study, load_record(self.logs / run.run_id)) if run.run_id else None

    def _rank_settings(self) -> None:
        """Put down how much each setting of a search mattered."""
        if self.study.search:
            with self._step():
                if importance := self._queue.importance():
                    self._ledger.put_importance(importance)

    def _ended(self) -> StudyEnded:
        if self._stopping or not self.study.finished:
            held = any(run.wish == "hold" for run in self.study.runs)
            left = "some of its runs are on hold" if held else "some of its runs are left to do"
            return StudyEnded(self.study, "stopped", self._stopping or left)
        return StudyEnded(self.study, "failed" if self.study.count("failed") else "completed")


def _epochs(study: Study) -> int:
    """The most epochs that a run of a search trains, as its base has them."""
    training: Mapping[str, Any] = study.search.base.get("training", {}) if study.search else {}
    return int(training.get("epochs", 10))
