"""What a person and a reader learn while a disk refuses what a run writes, in a training that is real."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from fault_counts import Faults
from fault_disk import FaultDisk, PickyDisk

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.events import (
    CheckpointSaved,
    CommandApplied,
    EpochCompleted,
    EventsDropped,
    EventsHeld,
    EventsReleased,
    Failure,
    RunCompleted,
    RunEvent,
    RunFailed,
    StepCompleted,
    WarningRaised,
)
from torchdeck.core.runs.index import list_runs
from torchdeck.core.runs.layout import is_locked
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.writer import claim, reopen
from torchdeck.core.session.recorder import Recorder
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.core.utils.files import Disk
from torchdeck.tui.format.event_lines import held_text, lines_of

Made = Callable[..., ExperimentConfig]
TheRun = Callable[[], Path]
TWO_EPOCHS = {"training.epochs": 2}
LOG, MODEL = "events.jsonl", "model.safetensors"


def trained(config: ExperimentConfig, logs: Path, around: SessionContext, disk: Disk) -> list[RunEvent]:
    return list(run(config, logs, context=replace(around, disk=disk)))


def without_times(events: list[RunEvent]) -> list[str]:
    """The events of training, without what tells of the disk and of the clock."""
    kept = (StepCompleted, EpochCompleted, CheckpointSaved, RunCompleted)
    return [f"{type(event).__name__} {getattr(event, 'step', 0)}" for event in events if isinstance(event, kept)]


@pytest.mark.parametrize("lasting", [1, 40])
def test_a_real_training_goes_on_whatever_the_disk_refuses(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, lasting: int
) -> None:
    whole = trained(small(TWO_EPOCHS), tmp_path / "whole", context, disk := FaultDisk())
    done = lost = 0
    # A prime step, so that each kind of operation has its turn.
    for at in range(2, disk.operations, 9):
        logs = tmp_path / f"{at}"
        faulty = FaultDisk(at, errno.ENOSPC, "half" if at % 2 else "before", lasting)
        events = trained(small(TWO_EPOCHS), logs, context, faulty)
        if isinstance(events[-1], RunFailed):
            assert events[-1].error.kind == "input"
            assert lasting > 1 or not any(logs.glob("*"))
            continue
        done += 1
        steps = [line for line in without_times(events) if "Checkpoint" not in line]
        lost += steps != [line for line in without_times(whole) if "Checkpoint" not in line]
        (row,) = list_runs(logs)
        assert row.status == "completed"
        seen = list(EventReader(row.folder).read())
        lost += [event.seq for event in seen] != [event.seq for event in events]
    faults("errors of a file operation", done, lost=lost)
    assert done >= 10
    assert lost == 0


def test_a_refusal_is_told_when_it_begins_and_when_it_ends(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    disk, record, lines, told = PickyDisk(), RunRecord(), list[str](), list[RunEvent]()
    for event in run(small(), tmp_path / "logs", context=replace(context, disk=disk)):
        told.append(event)
        record.apply(event)
        lines += lines_of(event, record)
        if isinstance(event, StepCompleted) and event.step == 4 and event.phase == "train":
            disk.refused = {LOG}
        if isinstance(event, EpochCompleted) and event.epoch == 2:
            assert record.held
            assert held_text(record) == f"{record.waiting} events wait in memory: the disk is full"
            on_disk = [other.seq for other in EventReader(the_run()).read()]
            assert on_disk == list(range(len(told) - record.waiting))
            disk.refused = set()
    (held,) = (event for event in told if isinstance(event, EventsHeld))
    (released,) = (event for event in told if isinstance(event, EventsReleased))
    assert (released.count, released.dropped) == (released.seq - held.since, 0)
    assert [event.seq for event in EventReader(the_run()).read()] == [event.seq for event in told]
    assert load_record(the_run()) == record
    assert "warning: 2 events wait in memory: the disk is full; training continues" in lines
    assert f"the disk accepts writes again: {released.count} held events were written" in lines


def test_what_waits_is_written_while_a_paused_run_says_nothing(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    disk, found = PickyDisk(), list[int]()

    class Watched(Control):
        def wait(self, seconds: float) -> None:  # noqa: ARG002
            disk.refused = set()
            found.append(len(list(EventReader(the_run()).read())))
            if len(found) == 60:
                self.request("unpause")

    control, told, paused_at = Watched(), list[RunEvent](), -1
    for event in run(small(), tmp_path / "logs", control, context=replace(context, disk=disk)):
        told.append(event)
        if isinstance(event, StepCompleted) and event.step == 4 and event.phase == "train":
            disk.refused = {LOG}
            control.request("pause")
        if isinstance(event, CommandApplied) and event.command == "pause":
            paused_at = event.seq
    assert found[0] <= paused_at < found[-1]
    assert isinstance(told[-1], RunCompleted)


def test_caches_never_know_more_than_the_log(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    disk, ticks, checked = PickyDisk(), count(), 0
    # So long between two events that the curves are always due.
    around = replace(context, disk=disk, now=lambda: 100.0 * next(ticks))
    for event in run(small(), tmp_path / "logs", context=around):
        if isinstance(event, StepCompleted) and event.step == 4 and event.phase == "train":
            disk.refused = {LOG}
        if isinstance(event, WarningRaised) and "step 6" in event.message:
            known = load_record(the_run())
            (the_run() / "curves.json").unlink()
            assert known == load_record(the_run())
            assert [epoch.epoch for epoch in known.epochs] == [1]
            disk.refused, checked = set[str](), checked + 1
    assert checked == 1


def test_a_run_whose_last_words_are_not_on_disk_says_so_and_goes_on_later(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    disk, told, waits = PickyDisk(), list[RunEvent](), list[float]()
    around = replace(context, disk=disk, wait=waits.append)
    for event in run(small(), tmp_path / "logs", context=around):
        told.append(event)
        if isinstance(event, EpochCompleted) and event.epoch == 2:
            disk.refused = {LOG}
    last = told[-1]
    assert isinstance(last, RunFailed)
    assert last.error.kind == "disk"
    missing = last.seq + 1 - len(list(EventReader(the_run()).read()))
    assert last.error.message == "the last checkpoint, of step 9, could not be written (the disk is full)"
    assert f"the last {missing} events are not on disk (the disk is full)" in last.error.hint
    assert f"torchdeck resume {the_run().name}" in last.error.hint
    assert waits == [1.0] * 70
    assert load_record(the_run()).status == "died"
    again = list(resume(the_run(), context=context))
    assert isinstance(again[-1], RunCompleted)
    assert [epoch.epoch for epoch in load_record(the_run()).epochs] == [1, 2, 3]


def test_a_checkpoint_is_never_ahead_of_the_log(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    disk, saved = PickyDisk(), list[str]()
    for event in run(small(), tmp_path / "logs", context=replace(context, disk=disk)):
        if isinstance(event, StepCompleted) and event.phase == "train":
            disk.refused = {LOG} if event.step in (5, 6) else set()
            if event.step == 7:
                saved = [path.name for path in (the_run() / "checkpoints").iterdir()]
    assert saved == ["step-00000003"]


def test_a_failed_run_keeps_its_own_reason_where_the_disk_refuses_its_last_words(tmp_path: Path) -> None:
    disk, recorder = PickyDisk(), Recorder(lambda: 0.0, lambda _: None)
    recorder.attach(claim(tmp_path, "20260101-000000-x-abcd", {}, disk))
    disk.refused = {LOG}
    last = recorder(RunFailed(error=Failure("diverged", "DivergedError", "no longer finite", "lower the rate")))
    recorder.close()
    assert isinstance(last, RunFailed)
    assert (last.error.kind, last.error.message) == ("diverged", "no longer finite")
    assert last.error.hint.startswith("lower the rate\nthe last 1 events are not on disk (the disk is full)")


def test_an_old_checkpoint_that_cannot_be_removed_is_a_warning_and_the_new_one_counts(
    small: Made, tmp_path: Path, context: SessionContext
) -> None:
    disk = PickyDisk()
    told: list[RunEvent] = []
    for event in run(small({"training.epochs": 4}), tmp_path / "logs", context=replace(context, disk=disk)):
        told.append(event)
        if isinstance(event, CheckpointSaved):
            disk.refused = {"manifest.json"} if event.step == 6 else set()
        if isinstance(event, EpochCompleted):
            disk.refused = set()
    assert [event.step for event in told if isinstance(event, CheckpointSaved)] == [3, 6, 9, 12]
    assert isinstance(told[-1], RunCompleted)


def test_a_run_without_a_place_for_its_directory_leaves_nothing_behind(
    small: Made, tmp_path: Path, context: SessionContext
) -> None:
    told = trained(small(), tmp_path / "logs", context, FaultDisk(6, errno.EDQUOT))
    assert isinstance(told[-1], RunFailed)
    assert told[-1].error.kind == "input"
    assert "the disk quota is used up" in told[-1].error.message
    assert not any((tmp_path / "logs").glob("*"))


def test_a_run_can_be_taken_up_where_the_disk_has_no_room_even_for_the_name_of_its_owner(tmp_path: Path) -> None:
    disk = PickyDisk()
    claim(tmp_path, "20260101-000000-x-abcd", {}).close()
    disk.refused = {"run.lock"}
    writer = reopen(tmp_path / "20260101-000000-x-abcd", disk)
    assert is_locked(writer.folder)
    writer.close()


def test_events_that_gave_way_are_counted_where_the_log_has_a_hole() -> None:
    record = RunRecord()
    record.apply(EventsDropped(seq=7, count=8))
    record.apply(EventsHeld(seq=8, since=0, reason="the disk is full"))
    record.apply(EventsReleased(seq=9, count=2, dropped=8))
    assert record.warnings == ["2 events waited in memory: the disk is full, 8 step events were dropped"]
    assert record.next_seq == 10
