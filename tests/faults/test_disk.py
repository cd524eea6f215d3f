"""A process that dies, a disk that refuses and a power cut, at every single operation of a run's writers."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from disk_scenario import RUN_ID, Told, harm, play, texts, tiny_job
from fault_counts import Faults
from fault_disk import Crash, FaultDisk, Moment
from power_cut import Model, TraceDisk, tails

from torchdeck.core.errors import LogsError
from torchdeck.core.events import EventsHeld, RunCompleted, RunFailed
from torchdeck.core.training.state import TrainingJob

REFUSALS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES, errno.EROFS)
MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    return tiny_job(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory, where there is one: thousands of small files are made."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


def undisturbed(job: TrainingJob, place: Path) -> FaultDisk:
    """The disk after the whole scenario, with the operations that takes."""
    disk = FaultDisk()
    play(job, place / "whole", disk, told := Told())
    assert isinstance(told.events[-1], RunCompleted)
    assert [event.step for event in told.saved] == [2, 4, 4, 5, 6, 8]
    assert harm(place / "whole" / RUN_ID, told.events) == []
    return disk


@pytest.mark.parametrize("moment", ["before", "half"])
def test_a_process_that_dies_at_any_operation_loses_nothing_that_it_told(
    job: TrainingJob, place: Path, moment: Moment, faults: Faults
) -> None:
    """Before each operation, which is after the one before, and in the midst of each that has one."""
    whole, complaints = undisturbed(job, place), []
    numbers = whole.writes if moment == "half" else range(1, whole.operations + 1)
    for at in numbers:
        logs, disk, told = place / str(at), FaultDisk(at, "crash", moment), Told()
        with pytest.raises(Crash):
            play(job, logs, disk, told)
        disk.bury()
        complaints += [f"operation {at}: {wrong}" for wrong in harm(logs / RUN_ID, told.acknowledged)]
        shutil.rmtree(logs, ignore_errors=True)
    faults("crashes at a file operation", len(numbers), lost=len(complaints))
    assert len(numbers) >= (230 if moment == "before" else 30)
    assert complaints == [], texts(complaints)


def refused(job: TrainingJob, logs: Path, disk: FaultDisk) -> tuple[Told, list[str]]:
    """Play through a refusal; what was told, and what is wrong."""
    told = Told()
    try:
        play(job, logs, disk, told)
    except LogsError as error:
        left = [path for path in (logs / RUN_ID).rglob("*") if disk.lasting == 1]
        return told, [f"{error}, but it left {left}"] if left or len(told.events) != 1 else []
    except Exception as error:  # noqa: BLE001 - a training that would have been aborted
        return told, [f"aborted by {error!r}"]
    return told, harm(logs / RUN_ID, told.events, most_damaged=disk.lasting)


def test_a_disk_that_refuses_any_operation_once_loses_nothing_and_stops_nothing(
    job: TrainingJob, place: Path, faults: Faults, soak: int
) -> None:
    """Each operation, before it and in its midst; the errors, which the writers do not tell apart, take turns."""
    count, complaints, done = undisturbed(job, place).operations, [], 0
    moments: list[tuple[int, Moment]] = [(at, "before") for at in range(1, count + 1)]
    moments += [(at, "half") for at in range(1, count + 1)]
    for turn, (at, moment) in enumerate(moments * min(soak, len(REFUSALS))):
        refusal = REFUSALS[(turn + turn // len(moments)) % len(REFUSALS)]
        logs, disk = place / f"{at}-{moment}", FaultDisk(at, refusal, moment)
        told, wrong = refused(job, logs, disk)
        if told.events and len(told.events) > 1 and not isinstance(told.events[-1], RunCompleted):
            wrong.append(f"ended with {told.events[-1]}")
        complaints += [f"operation {at} {moment}, {errno.errorcode[refusal]}: {item}" for item in wrong]
        done += 1
        shutil.rmtree(logs, ignore_errors=True)
    aborted = sum("aborted" in complaint for complaint in complaints)
    faults("errors of a file operation", done, lost=len(complaints) - aborted, crashes=aborted)
    assert complaints == [], texts(complaints)


def test_a_disk_that_refuses_for_a_while_gets_everything_in_order_when_it_takes_it_again(
    job: TrainingJob, place: Path, faults: Faults
) -> None:
    count, complaints, held, done = undisturbed(job, place).operations, [], 0, 0
    for at in range(1, count + 1, 3):
        logs, disk = place / str(at), FaultDisk(at, REFUSALS[at % 5], "half" if at % 2 else "before", lasting=30)
        told, wrong = refused(job, logs, disk)
        held += any(isinstance(event, EventsHeld) for event in told.events)
        complaints += [f"operation {at}: {item}" for item in wrong]
        done += 1
        shutil.rmtree(logs, ignore_errors=True)
    faults("errors of a file operation", done, lost=len(complaints))
    assert held > done / 2
    assert complaints == [], texts(complaints)


def test_a_disk_that_never_takes_anything_again_ends_the_run_with_what_is_missing(
    job: TrainingJob, place: Path, faults: Faults
) -> None:
    count, complaints, done = undisturbed(job, place).operations, [], 0
    for at in range(1, count + 1, 7):
        logs, disk, told = place / str(at), FaultDisk(at, REFUSALS[at % 5], lasting=10**9), Told()
        try:
            play(job, logs, disk, told)
        except LogsError:
            assert len(told.events) == 1
            continue
        last = told.events[-1]
        if isinstance(last, RunFailed):
            assert last.error.kind == "disk"
            assert "torchdeck resume" in last.error.hint
        else:
            # All that was left to write were caches.
            assert told.acknowledged == told.events
        complaints += [f"operation {at}: {item}" for item in harm(logs / RUN_ID, told.acknowledged)]
        done += 1
    faults("errors of a file operation", done, lost=len(complaints))
    assert complaints == [], texts(complaints)


def cuts(job: TrainingJob, place: Path, *, syncs: bool, every: int) -> tuple[int, list[str]]:
    """Cut the power after every so many operations, in five ways; how many states that made, and what is wrong."""
    disk, told, states, complaints = TraceDisk(place / "real"), Told(), 0, []
    (place / "real").mkdir()
    play(job, place / "real" / "logs", disk, told)
    model, at = Model(disk.root, syncs=syncs), 0
    for at, step in enumerate(disk.trace, start=1):
        step(model)
        if at % every:
            continue
        must_have = told.durable_after(at)
        for number, tail in enumerate(tails(at)):
            left = place / f"{at}-{number}"
            model.survives(left, tail)
            wrong = harm(left / "logs" / RUN_ID, must_have, most_damaged=2)
            complaints += [f"operation {at}, tail {number}: {item}" for item in wrong[:1]]
            shutil.rmtree(left)
            states += 1
    return states, complaints


def test_a_power_cut_costs_at_most_what_was_told_since_the_last_sync(
    job: TrainingJob, place: Path, faults: Faults
) -> None:
    states, complaints = cuts(job, place, syncs=True, every=2)
    faults("power cuts", states, lost=len(complaints))
    assert states >= 375
    assert complaints == [], texts(complaints)


def test_without_syncs_power_cuts_do_harm(job: TrainingJob, place: Path) -> None:
    _, complaints = cuts(job, place, syncs=False, every=4)
    assert len(complaints) >= 50
