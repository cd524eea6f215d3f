"""Many workers, and many processes, on one study: each of its runs is done once, whoever is killed in between."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from noop import NoOp
from study_runs import FOUR, check_each_ran_once, options, trial_states

from torchdeck import presets
from torchdeck.core.control import CommandName, Control
from torchdeck.core.devices.slots import Slot
from torchdeck.core.errors import BusyError, InputError
from torchdeck.core.events import RunCompleted, RunEvent, RunStatus, stamp
from torchdeck.core.processes.launch import WorkerStarter
from torchdeck.core.runs.line_format import encode_line
from torchdeck.core.runs.reader import load_record, write_caches
from torchdeck.core.studies.coordinators import register, request_stop
from torchdeck.core.studies.events import RunEnded, RunEventForwarded, RunStartedInStudy, StudyEnded, StudyEvent
from torchdeck.core.studies.ledger import hold_run, retry_run
from torchdeck.core.studies.model import HOLD
from torchdeck.core.studies.run_study import run_study
from torchdeck.core.studies.store import create_study, load_study
from torchdeck.core.utils.locks import take_lock
from torchdeck.presets.study_presets import grid_study, search_study

TINY = ("data.train_limit=64", "data.test_limit=32", "training.batch_size=32", "training.threads=1")


def a_study(logs: Path, runs: int, *settings: str) -> Path:
    """The folder of a new study of so many runs, which differ in their seed."""
    seeds = ",".join(map(str, range(runs)))
    return create_study(logs, grid_study(presets.load("quickstart"), [f"training.seed={seeds}", *settings]), 0.0)


@dataclass
class Killing:
    """A starter whose runs of these numbers are killed after so many events, the first time that they are tried."""

    after: dict[int, int]
    begun: list[int] = field(default_factory=list)

    def __call__(self, request: Mapping[str, Any], console: Path, lock: int, slot: Slot) -> NoOp:
        number = request["study"]["number"]
        self.begun.append(number)
        return _Killed(self.after.pop(number, None), request, console, lock, slot)


class _Killed(NoOp):
    def __init__(self, after: int | None, *about: Any) -> None:
        self.after = after
        super().__init__(*about)

    def events(self) -> Iterator[RunEvent]:
        return islice(super().events(), self.after)

    def exit_text(self) -> str:
        return "its process was killed by SIGKILL"


@pytest.mark.parametrize("repetition", range(4))
def test_four_workers_run_each_configuration_once_with_two_of_them_killed(tmp_path: Path, repetition: int) -> None:
    study = a_study(tmp_path, 24)
    victims = {repetition: 1, 23 - 5 * repetition: 4 + repetition}
    start = Killing(dict(victims))
    *_, last = run_study(study, options=options(start=start))
    assert isinstance(last, StudyEnded)
    assert last.outcome == "completed"
    assert Counter(start.begun) == Counter([*range(24), *victims])
    check_each_ran_once(study, 24)
    assert trial_states(study)["FAIL"] == 2
    assert {run.number for run in load_study(study).runs if run.deaths} == set(victims)


def test_a_configuration_that_kills_its_process_twice_fails_and_the_others_go_on(tmp_path: Path) -> None:
    study = a_study(tmp_path, 3)

    class Deadly(Killing):
        def __call__(self, request: Mapping[str, Any], *about: Any) -> NoOp:
            if request["study"]["number"] == 1:
                self.after[1] = 4
            return super().__call__(request, *about)

    start = Deadly({})
    *_, last = run_study(study, options=options(start=start))
    assert last.outcome == "failed"
    assert Counter(start.begun) == {0: 1, 1: 2, 2: 1}
    assert load_study(study).runs[1].reason == "its process was killed by SIGKILL, 2 times"
    # A person may want it tried again.
    retry_run(study, 1)
    *_, last = run_study(study, options=options())
    assert last.outcome == "completed"


class Endless(NoOp):
    """Runs that train until they are asked to stop; what was stopped is done when it goes on."""

    begun: dict[int, Endless]

    def __init__(self, request: Mapping[str, Any], *about: Any) -> None:
        super().__init__(request, *about)
        self.ended = request["resume"]
        self.folder = Path(request["logs"]) / request["run_id"]
        self.lock = None if self.ended else take_lock(self.folder / "run.lock")
        self.begun[request["study"]["number"]] = self

    def events(self) -> Iterator[RunEvent]:
        return super().events() if self.request["resume"] else islice(super().events(), 5)

    def end(self, status: RunStatus, reason: str = "") -> None:
        """End as a run does."""
        event = RunCompleted(status=status, reason=reason, epoch=4, step=20, train_seconds=1.0)
        with open(self.folder / "events.jsonl", "ab") as log:
            log.write(encode_line(stamp(event, seq=5, t=0.0, attempt=1)))
        write_caches(self.folder, load_record(self.folder), curves=True)
        self.ended = True
        assert self.lock
        os.close(self.lock)

    def send(self, _: CommandName, reason: str) -> None:
        if not self.ended:
            self.end("stopped", reason)


@pytest.fixture
def endless() -> type[Endless]:
    class Own(Endless):
        pass

    Own.begun = {}
    return Own


def begins(number: int, events: Iterator[StudyEvent]) -> RunStartedInStudy:
    """The next beginning of a run, and all before it."""
    return next(event for event in events if isinstance(event, RunStartedInStudy) and event.run.number == number)


def ends(number: int, events: Iterator[StudyEvent]) -> RunEnded:
    return next(event for event in events if isinstance(event, RunEnded) and event.run.number == number)


def test_one_run_is_stopped_while_the_others_go_on_and_waits_until_it_is_retried(
    tmp_path: Path, endless: type[Endless]
) -> None:
    study = a_study(tmp_path, 6)
    events = run_study(study, options=options(start=endless))
    begins(3, events)
    assert hold_run(study, 1).state == "running"
    held = ends(1, events).run
    assert (held.state, held.reason) == ("stopped", HOLD)
    # The slot goes to the next, and neither it nor the other slots take the run up again.
    begins(4, events)
    for number in (0, 2, 3, 4):
        endless.begun[number].end("completed")
    assert load_study(study).runs[1].reason == HOLD
    begins(5, events)
    endless.begun[5].end("stopped", "requested by another process")
    # What anybody else stops stays stopped as well.
    assert ends(5, events).run.reason == f"requested by another process; {HOLD}"
    retry_run(study, 1)
    with pytest.raises(InputError, match="run 1 is waiting"):
        retry_run(study, 1)
    assert begins(1, events).resumed
    *_, last = events
    assert (last.outcome, last.reason) == ("stopped", "some runs are on hold")
    states = Counter(run.state for run in load_study(study).runs)
    assert states == {"completed": 5, "stopped": 1}


def test_a_run_can_be_retried_while_its_study_runs_and_only_where_that_is_of_use(
    tmp_path: Path, endless: type[Endless]
) -> None:
    study = a_study(tmp_path, 5)
    events = run_study(study, options=options(start=endless))
    begins(3, events)
    hold_run(study, 4)
    assert ends(4, events).run.state == "stopped"
    endless.begun[0].end("completed")
    assert ends(0, events).run.state == "completed"
    for number, state in ((0, "completed"), (1, "running")):
        with pytest.raises(InputError, match=f"run {number} is {state}; choose a run that failed"):
            retry_run(study, number)
    with pytest.raises(InputError, match="run 0 is completed; choose a run"):
        hold_run(study, 0)
    with pytest.raises(InputError, match="has no run 5; choose one of 0 to 4"):
        hold_run(study, 5)
    retry_run(study, 4)
    assert not begins(4, events).resumed
    events.close()  # type: ignore[attr-defined]


class Process(threading.Thread):
    """Works on a study as a process of its own does; it goes in the middle of things once it began so many runs."""

    def __init__(self, study: Path, goes_after: int = 1000, start: WorkerStarter = NoOp) -> None:
        super().__init__()
        self.study, self.goes_after, self.starter = study, goes_after, start
        self.told: list[StudyEvent] = []

    def run(self) -> None:
        clock = count().__next__
        about = options(start=self.starter, join=True, slots=FOUR[:2], poll=0.001, clock=clock)
        with closing(run_study(self.study, options=about)) as events:  # type: ignore[type-var]
            for event in events:
                self.told.append(event)
                if len(self.begun) == self.goes_after:
                    return

    @property
    def begun(self) -> list[int]:
        """The runs that it began."""
        return [event.run.number for event in self.told if isinstance(event, RunStartedInStudy) and not event.by_peer]

    @property
    def outcome(self) -> str:
        last = self.told[-1]
        return last.outcome if isinstance(last, StudyEnded) else ""


@pytest.mark.parametrize("repetition", range(4))
def test_two_joined_processes_run_each_configuration_once_though_one_goes(tmp_path: Path, repetition: int) -> None:
    study = a_study(tmp_path, 24)
    goes, stays = Process(study, goes_after=3 + repetition), Process(study)
    for process in (goes, stays):
        process.start()
    for process in (goes, stays):
        process.join()
    # It left one or two that it had begun, which were done, but of which it had not told the queue.
    assert (goes.outcome, stays.outcome) == ("", "completed")
    assert sorted(goes.begun + stays.begun) == list(range(24))
    check_each_ran_once(study, 24)
    assert not list((study / "parents").iterdir())


def test_what_another_process_trains_is_told_as_it_comes(tmp_path: Path, endless: type[Endless]) -> None:
    study = a_study(tmp_path, 5)
    own = run_study(study, options=options(start=endless))
    begins(3, own)
    watching = run_study(study, options=options(slots=(Slot("cpu 9"),), join=True))
    assert begins(2, watching).by_peer
    theirs = begins(4, watching)
    assert (theirs.by_peer, theirs.slot) == (False, "cpu 9")
    endless.begun[2].end("completed")
    ends(2, own)
    said = next(event for event in watching if isinstance(event, RunEventForwarded) and event.number == 2)
    assert isinstance(said.event, RunCompleted)
    ended = ends(2, watching)
    assert (ended.by_peer, ended.run.state) == (True, "completed")
    request_stop(study)
    assert [[*events][-1].outcome for events in (own, watching)] == ["stopped", "stopped"]


def test_a_search_by_two_processes_draws_each_of_its_settings_once(tmp_path: Path) -> None:
    wanted = search_study(presets.load("quickstart"), ["optimizer.lr=log(1e-4,1e-1)"], 9, "none", "random")
    study = create_study(tmp_path, wanted, 0.0)
    both = [Process(study), Process(study)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.outcome for process in both] == ["completed", "completed"]
    assert len({run.overrides["optimizer.lr"] for run in load_study(study).runs}) == 9
    check_each_ran_once(study, 9)


def test_what_a_killed_process_was_writing_is_cut_while_another_works(tmp_path: Path, endless: type[Endless]) -> None:
    study = a_study(tmp_path, 6)
    events = run_study(study, options=options(start=endless, slots=FOUR[:1]))
    begins(0, events)
    for name in ("changes.jsonl", "optuna-journal.log"):
        with open(study / name, "ab") as file:
            file.write(b'{"run":{"num')
    endless.begun[0].end("completed")
    begins(1, events)
    endless.begun[1].end("completed")
    begins(2, events)
    request_stop(study)
    *_, last = events
    assert last.outcome == "stopped"
    *_, last = run_study(study, options=options())
    assert last.outcome == "completed"
    check_each_ran_once(study, 6)


def test_a_gpu_is_one_process_s(tmp_path: Path) -> None:
    study = a_study(tmp_path, 2)
    first, second = (Slot("cuda", "cuda", None, {"CUDA_VISIBLE_DEVICES": gpus}) for gpus in ("0,1", "1,2"))
    parent = register(study, [first], join=True)
    with pytest.raises(BusyError, match="GPU 1 is used by process"):
        register(study, [second], join=True)
    parent.unregister()
    register(study, [second], join=True).unregister()


def test_a_lock_that_does_not_hold_across_machines_is_noticed_by_signs_of_life(tmp_path: Path) -> None:
    study = a_study(tmp_path, 2)
    (study / "parents").mkdir()
    lock = study / "parents" / "far-1-abcd.lock"
    lock.write_text(json.dumps({"pid": 1, "host": "far"}))
    waited = list[float]()

    class Beats(Control):
        def wait(self, seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                os.utime(lock, (1, 1))

    *_, last = run_study(study, Beats(), options=options(join=True))
    assert last.error
    assert "is active in process 1 on far, whose lock cannot be seen here" in last.error.message
    assert waited == [1.0] * 3
    # One that gives none is gone.
    Beats.wait = lambda *_: None  # type: ignore[method-assign]
    *_, last = run_study(study, Beats(), options=options(join=True))
    assert last.outcome == "completed"
