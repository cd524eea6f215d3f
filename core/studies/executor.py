"""The executor of a study in one process: fills its slots with runs, follows them, requeues what others left."""

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
from .coordinators import Coordinator, active_coordinators, has_workers, is_alive
from .events import RunEnded, RunStartedInStudy, StudyEnded, StudyEvent, StudyStarted, StudyWarned
from .ledger import Ledger, reset_for_retry
from .model import HOLD, PRUNED, Study, StudyRun
from .peers import PeerEvents
from .requests import drawn_run, worker_request
from .store import current_run, load_study, remove_incomplete_run

if TYPE_CHECKING:
    from optuna.trial import Trial

    from .trial_queue import TrialQueue

OwnEvent = TypeVar("OwnEvent", RunStartedInStudy, RunEnded)
PEER_POLL_SECONDS = 0.5
"""Seconds between two checks of what other processes do."""

RETRY_SECONDS = 1.0
"""Seconds between two attempts to write after a disk error."""


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How this process works on a study: its slots, the data folder, a time budget and the clocks, all in seconds.

    `start` starts one run in a slot, by default as a process on this machine. `leftover_runs` returns the ids of the
    runs that an earlier process submitted to the `cluster` and that it still has: `start` adopts those. With `join`
    this process works on the study beside others.
    """

    data: Path
    slots: tuple[Slot, ...] = (Slot("auto"),)
    retry_failed: bool = False
    budget: float | None = None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    poll: float = 0.1
    start: WorkerStarter | None = None
    leftover_runs: Callable[[Path], Collection[str]] = lambda _: ()
    cluster: str = ""
    join: bool = False


class Executor:
    """Works on a study in this process, possibly beside others."""

    def __init__(
        self, ledger: Ledger, coordinator: Coordinator, control: Inbox, options: StudyOptions, start: WorkerStarter
    ) -> None:
        # Imports optuna, 0.3 s, only where a study is run.
        from .trial_queue import TrialQueue

        self.folder, self.logs = ledger.folder, ledger.folder.parent
        self._ledger, self._coordinator, self._control = ledger, coordinator, control
        self._options, self._start = options, start
        self._active: dict[str, Attempt] = {}
        self._stopping = ""
        self._end_by = None if options.budget is None else options.clock() + options.budget
        (self.folder / "workers").mkdir(exist_ok=True)
        left = options.leftover_runs(self.folder)
        with ledger.locked():
            self._reconcile(left)
            alone = active_coordinators(self.folder) == [coordinator.name]
            self._queue: TrialQueue = TrialQueue(self.folder, self.study, _epochs(self.study), alone=alone)
            self._to_adopt = [run.number for run in self.study.runs if run.run_id in left and run.to_do]
            self._queue.reconcile(self.study.runs, self._figure, self._to_adopt)
        self._peers = PeerEvents(self.logs, coordinator.name, self.study)
        self._last_peer_poll = options.clock() - PEER_POLL_SECONDS
        self._refusal = ""
        """The disk error that keeps changes from being written; "" without one."""
        self._refused_at = 0.0

    @property
    def study(self) -> Study:
        """The study with all changes that this process and others have recorded."""
        return self._ledger.study

    def _reconcile(self, left: Collection[str]) -> None:
        """Record the states in the run folders, except of runs that other processes train."""
        for run in self.study.runs:
            if run.state == "running" and is_alive(self.folder, run.parent):
                continue
            if run.state in ("completed", "pruned") and is_run(self.logs / str(run.run_id)):
                continue
            if self._options.retry_failed and run.state == "failed":
                run = reset_for_retry(run)
            found = current_run(self.logs, run)
            # A run that a cluster still trains is adopted later, see `_adopt_cluster_runs`.
            in_cluster = found.state == "running" and found.run_id in left
            self._ledger.record(replace(found, state="stopped") if in_cluster else found)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Hold the study's lock, with a repaired queue."""
        with self._ledger.locked():
            self._queue.repair()
            yield

    def events(self) -> Iterator[StudyEvent]:
        """Work until no run is left, here or in other processes, or until a stop took effect; yields events.

        Changes that cannot be written are tried again until they can; meanwhile active runs continue.
        """
        yield StudyStarted(self.study, tuple(slot.name for slot in self._options.slots))
        while True:
            self._check_for_stop()
            for active in self._active.values():
                yield from active.new_events()
            if not self._refusal or self._options.clock() - self._refused_at >= RETRY_SECONDS:
                try:
                    yield from self._record_changes()
                except OSError as error:
                    if not is_disk_error(error):
                        raise
                    yield from self._wait_for_disk(error)
            if self._refusal and self._stopping and all(active.worker.ended for active in self._active.values()):
                # Nothing is lost: the next process to open the study reads the run folders.
                yield StudyEnded(load_study(self.folder), "stopped", f"{self._stopping}; {self._refusal}")
                return
            if not self._refusal and not self._active and (self._stopping or not self._has_work()):
                break
            self._coordinator.heartbeat(self._options.clock())
            self._control.wait(self._options.poll)
        yield self._final_event()

    def _record_changes(self) -> Iterator[StudyEvent]:
        """Do everything that changes the study's files, after what failed before."""
        if self._refusal:
            self._catch_up()
            yield StudyWarned("the study's files can be written again")
            self._refusal = ""
        yield from self._adopt_cluster_runs()
        for slot, active in list(self._active.items()):
            yield from self._follow(slot, active)
        yield from self._poll_peers()
        if not self._stopping:
            yield from self._fill_slots()
        if not self._active and self.study.finished:
            self._record_importance()

    def _wait_for_disk(self, error: OSError) -> Iterator[StudyEvent]:
        """Start to wait after a disk error, or continue waiting."""
        if not self._refusal:
            consequence = "active runs continue, no other run starts until their results can be recorded"
            yield StudyWarned(f"{self.folder} cannot be written ({disk_error_text(error)}): {consequence}")
        self._refusal, self._refused_at = disk_error_text(error), self._options.clock()

    def _catch_up(self) -> None:
        """Do what the next process to open the study would do: complete the records from the run folders."""
        active = {active.number for active in self._active.values()}
        with self._locked():
            for run in self.study.runs:
                if run.state == "running" and run.parent == self._coordinator.name and run.number not in active:
                    self._ledger.record(settled := current_run(self.logs, run))
                    self._peers.mark_known(settled)
            self._queue.reconcile(self.study.runs, self._figure)

    def _has_work(self) -> bool:
        """Whether a run is left to do, or active in any process."""
        return len(self.study.runs) < self.study.planned or any(
            run.to_do or run.state == "running" for run in self.study.runs
        )

    def close(self) -> None:
        """Detach from the workers: those that still train stop with a checkpoint."""
        for active in self._active.values():
            active.worker.close()

    def _check_for_stop(self) -> None:
        if self._stopping:
            return
        command = self._control.take()
        if command and command[0] == "stop":
            self._stopping = command[1] or "a stop was requested"
        elif self._coordinator.take_stop():
            self._stopping = "requested by another process"
        elif self._end_by is not None and self._options.clock() >= self._end_by:
            self._stopping = "the time budget is used up"
        if self._stopping:
            for active in self._active.values():
                active.request_stop(self._stopping)

    # Other processes

    def _poll_peers(self) -> Iterator[StudyEvent]:
        """Report what other processes and the user changed, and requeue the runs of processes that died."""
        self._ledger.refresh()
        for active in self._active.values():
            if self.study.runs[active.number].wish == "hold":
                active.request_stop(HOLD)
        now = self._options.clock()
        if now - self._last_peer_poll < PEER_POLL_SECONDS:
            return
        self._last_peer_poll = now
        for run in self.study.runs:
            if (
                run.state == "running"
                and run.parent != self._coordinator.name
                and not is_alive(self.folder, run.parent)
            ):
                self._requeue_orphan(run)
        yield from self._peers.poll(self.study)

    def _requeue_orphan(self, run: StudyRun) -> None:
        """Put a run back into the queue whose coordinator is gone, once its worker is gone as well."""
        folder = self.logs / str(run.run_id)
        if is_locked(folder) or (not is_run(folder) and has_workers(self.folder, run.parent)):
            return
        with self._locked():
            if self.study.runs[run.number] == run:
                self._ledger.record(settled := current_run(self.logs, run))
                self._queue.settle(settled, self._figure)

    # A run, from its claim to its end

    def _adopt_cluster_runs(self) -> Iterator[StudyEvent]:
        """Adopt the runs that a cluster trains already, before any other run is started."""
        left, self._to_adopt = self._to_adopt, []
        for slot, number in zip(self._options.slots, left, strict=False):
            with self._locked():
                trial = self._queue.open_trial(number)
                run = self._reserve(self.study.runs[number], slot, resumed=True) if trial else None
            if run and trial:
                yield self._start_run(slot, run, trial, resumed=True)
                self._active[slot.name].earlier_attempts -= 1

    def _fill_slots(self) -> Iterator[StudyEvent]:
        """Start a run in each free slot, as long as there are runs to do."""
        for slot in self._options.slots:
            while slot.name not in self._active and self._may_claim():
                with self._locked():
                    claimed = self._claim()
                    if claimed is None:
                        return
                    run, trial = claimed
                    resumed = is_run(self.logs / str(run.run_id))
                    if run.to_do:
                        run = self._reserve(run, slot, resumed)
                    else:
                        self._queue.settle(run, self._figure)
                # The runs of a search are reported in the order of their numbers.
                yield from self._peers.poll(self.study)
                if run.state == "running":
                    yield self._start_run(slot, run, trial, resumed)
                elif run.state == "failed":
                    yield self._own(RunEnded(run))

    def _may_claim(self) -> bool:
        return len(self.study.runs) < self.study.planned or any(run.to_do for run in self.study.runs)

    def _claim(self) -> tuple[StudyRun, Trial] | None:
        """Take the next run of the queue, with its trial; None where nothing is left to do."""
        may_draw = len(self.study.runs) < self.study.planned
        claimed = self._queue.claim(may_draw)
        if claimed is None:
            # Retried by the user, or left by a process that was killed between writing two files.
            self._queue.reconcile(self.study.runs, self._figure)
            claimed = self._queue.claim(may_draw)
        if claimed is None:
            return None
        trial, number, settings = claimed
        return (self._drawn(trial, settings) if number is None else self.study.runs[number]), trial

    def _drawn(self, trial: Trial, settings: Mapping[str, Any]) -> StudyRun:
        """A new run of a search; it counts as failed where its settings are not valid together."""
        search, number = self.study.search, len(self.study.runs)
        assert search
        run = replace(drawn_run(search, number, self.study.preset, settings), parent=self._coordinator.name)
        # In this order: a trial without a run is dropped when the study is opened again, a run without trial enqueued.
        self._ledger.record(run)
        self._queue.number(trial, number)
        return run

    def _reserve(self, run: StudyRun, slot: Slot, resumed: bool) -> StudyRun:
        """Record the id of a run before it is started: whatever dies from now on, the run can be found."""
        if run.run_id and not resumed:
            remove_incomplete_run(self.logs, run.run_id)
        run_id = run.run_id if run.run_id and resumed else new_run_id(run.preset, self._options.now())
        changed = replace(run, run_id=run_id, state="running", reason="", wish="")
        self._ledger.record(reserved := replace(changed, place=place_of(slot), parent=self._coordinator.name))
        return reserved

    def _start_run(self, slot: Slot, run: StudyRun, trial: Trial, resumed: bool) -> RunStartedInStudy:
        console, folder = self.folder / "workers" / f"{run.number:04}.log", self.logs / str(run.run_id)
        request = worker_request(self.study, run, slot, self.logs, self._options.data, resumed)
        worker = self._start(request, console, self._coordinator.worker_lock, slot)
        earlier = load_record(folder).attempt if resumed else 0
        self._active[slot.name] = active = Attempt(
            run.number, str(run.run_id), trial, worker, EventReader(folder), earlier
        )
        self._record_place(active)
        return self._own(RunStartedInStudy(self.study.runs[run.number], slot.name, resumed))

    def _own(self, event: OwnEvent) -> OwnEvent:
        """An event of this process, which must not be reported again as one of a peer."""
        self._peers.mark_known(event.run)
        return event

    def _record_place(self, active: Attempt) -> None:
        """Record where a run trains, which a cluster may report late, and its id, which changes with its folder."""
        noted = self.study.runs[active.number]
        now = replace(noted, place=active.worker.place, run_id=active.run_id)
        if now != noted:
            with self._ledger.locked():
                self._ledger.record(replace(self.study.runs[active.number], place=now.place, run_id=now.run_id))

    def _follow(self, slot: str, active: Attempt) -> Iterator[StudyEvent]:
        """Record the progress of a run, prune it where the search says so, and record its end."""
        self._record_place(active)
        while active.unreported:
            self._report(active, active.unreported[0])
            del active.unreported[0]
        if active.ended:
            run = self._finish_run(active)
            del self._active[slot]
            active.worker.close()
            yield self._own(RunEnded(run))

    def _report(self, active: Attempt, event: EpochCompleted) -> None:
        search = self.study.search
        if search is None or search.metric not in event.metrics or event.epoch in active.reported:
            return
        last = event.epoch >= int(self.study.runs[active.number].config["training"]["epochs"])
        with self._locked():
            self._queue.report(active.trial, event.epoch, event.metrics[search.metric])
            active.reported.add(event.epoch)
            if last or active.stop_requested or event.attempt <= active.earlier_attempts:
                return
            reason = self._queue.prune_reason(active.trial)
        if reason:
            active.request_stop(PRUNED + reason)

    def _finish_run(self, active: Attempt) -> StudyRun:
        """Record how a run ended, in the ledger and the queue; calling it twice is harmless."""
        with self._locked():
            active.outcome = active.outcome or outcome_of(active, self.logs, self.study.runs[active.number])
            self._ledger.record(active.outcome)
            self._queue.settle(active.outcome, lambda _: best_figure(self.study, active.record))
            return active.outcome

    def _figure(self, run: StudyRun) -> float | None:
        """The best value of the study's metric in a run."""
        return best_figure(self.study, load_record(self.logs / run.run_id)) if run.run_id else None

    def _record_importance(self) -> None:
        """Record the importance of each setting of a search."""
        if self.study.search:
            with self._locked():
                if importance := self._queue.importance():
                    self._ledger.record_importance(importance)

    def _final_event(self) -> StudyEnded:
        if self._stopping or not self.study.finished:
            held = any(run.wish == "hold" for run in self.study.runs)
            left = "some runs are on hold" if held else "some runs are left to do"
            return StudyEnded(self.study, "stopped", self._stopping or left)
        return StudyEnded(self.study, "failed" if self.study.count("failed") else "completed")


def _epochs(study: Study) -> int:
    """The number of epochs that a run of a search trains at most."""
    training: Mapping[str, Any] = study.search.base.get("training", {}) if study.search else {}
    return int(training.get("epochs", 10))
