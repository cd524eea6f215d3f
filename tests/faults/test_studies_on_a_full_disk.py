"""A study whose disk refuses what it writes: its runs train on, and what becomes of them is put down in the end."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fault_counts import Faults
from fault_disk import FaultDisk, Moment
from noop import NoOp
from study_runs import check_each_ran_once, options, run_folders

from torchdeck import presets
from torchdeck.core.control import Control
from torchdeck.core.devices.slots import Slot
from torchdeck.core.events import RunCompleted
from torchdeck.core.studies.events import RunEnded, RunEventForwarded, StudyEnded, StudyEvent, StudyWarned
from torchdeck.core.studies.run_study import run_study
from torchdeck.core.studies.store import create_study, load_study
from torchdeck.core.utils.files import DISK, Disk
from torchdeck.presets.study_presets import grid_study, search_study

pytestmark = pytest.mark.usefixtures("forked_programs")

REFUSES = "cannot be written"
RUNS = 2


def a_grid(logs: Path) -> Path:
    return create_study(logs, grid_study(presets.load("quickstart"), ["training.seed=0,1"]), 0.0)


def a_search(logs: Path) -> Path:
    space = ["optimizer.lr=log(1e-4,1e-1)"]
    return create_study(logs, search_study(presets.load("quickstart"), space, 2, "none", "random"), 0.0)


class StudyDisk(FaultDisk):
    """Fails in a study's own folder; what the runs write in theirs is not counted."""

    def __init__(self, folder: Path, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self.folder = folder

    def put_in_place(self, patch: pytest.MonkeyPatch) -> None:
        """Be asked by all who write."""
        real, own = Disk(), set[int]()

        def open_one(path: Path, flags: int, mode: int = 0o666) -> int:
            if not Path(path).is_relative_to(self.folder):
                return real.open(path, flags, mode)
            own.add(descriptor := self.open(path, flags, mode))
            return descriptor

        def close(descriptor: int) -> None:
            disk = self if descriptor in own else real
            own.discard(descriptor)
            disk.close(descriptor)

        patch.setattr(DISK, "open", open_one)
        patch.setattr(DISK, "close", close)
        patch.setattr(DISK, "write", lambda file, content: (self if file in own else real).write(file, content))
        patch.setattr(DISK, "sync", lambda file: self.sync(file) if file in own else None)


def worked(folder: Path, **changes: Any) -> list[StudyEvent]:
    return list(run_study(folder, options=options(slots=(Slot("cpu 1", "cpu"), Slot("cpu 2", "cpu")), **changes)))


def last_of(events: list[StudyEvent]) -> StudyEnded:
    assert isinstance(events[-1], StudyEnded)
    assert all(not isinstance(event, StudyEnded) for event in events[:-1])
    return events[-1]


@pytest.mark.parametrize(
    ("made", "fault", "moment", "lasting"), [(a_grid, errno.ENOSPC, "half", 1), (a_search, errno.EIO, "after", 7)]
)
def test_a_disk_that_refuses_any_operation_of_a_study_costs_no_run(
    tmp_path: Path,
    faults: Faults,
    made: Callable[[Path], Path],
    fault: int,
    moment: Moment,
    lasting: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        disk = StudyDisk(made(tmp_path / "whole"))
        disk.put_in_place(patch)
        assert last_of(worked(disk.folder)).outcome == "completed"
    operations = disk.done
    assert operations > 40
    # A search puts down a figure each epoch: one in four operations tells as much.
    tried = range(1, operations + 1, 1 if made is a_grid else 4)
    for at in tried:
        folder = made(tmp_path / str(at))
        with pytest.MonkeyPatch.context() as patch:
            disk = StudyDisk(folder, at, fault, moment, lasting)
            disk.put_in_place(patch)
            events = worked(folder)
        warned = [event.message for event in events if isinstance(event, StudyWarned)]
        ended = last_of(events)
        if ended.error:
            # It was being opened.
            assert (ended.error.kind, REFUSES in ended.reason) == ("input", True)
            assert ended.error.hint
            assert last_of(worked(folder)).outcome == "completed", (at, last_of(worked(folder)))
        else:
            assert ended.outcome == "completed", ended
            assert [REFUSES in message for message in warned] == [True, False] * (len(warned) // 2)
        check_each_ran_once(folder, RUNS)
        if made is a_grid and not ended.error:
            told = Counter(event.run.number for event in events if isinstance(event, RunEnded))
            assert told == Counter(range(RUNS)), (at, told)
    faults(f"refused operations of studies ({errno.errorcode[fault]})", len(tried))


def test_a_study_is_told_what_its_runs_say_while_the_disk_is_full_and_can_be_stopped(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, control = a_grid(tmp_path), Control()
    disk = StudyDisk(folder, 0, errno.ENOSPC, "before", 10**6)
    disk.put_in_place(monkeypatch)

    class Full(NoOp):
        """The disk is full from the moment that a run trains."""

        def __init__(self, request: Mapping[str, Any], *about: Any) -> None:
            super().__init__(request, *about)
            disk.at = 1

    events = list[StudyEvent]()
    for event in run_study(folder, control, options=options(slots=(Slot("cpu 1", "cpu"),), start=Full)):
        events.append(event)
        if isinstance(event, StudyWarned):
            control.request("stop", "enough")
    assert any(isinstance(event, RunEventForwarded) and isinstance(event.event, RunCompleted) for event in events)
    ended = last_of(events)
    assert (ended.outcome, ended.error) == ("stopped", None)
    assert ended.reason == "enough; the disk is full"
    assert ended.study
    # What no file of the study says, the run's own directory does.
    assert ended.study.count("completed") == 1
    disk.at = 0
    assert load_study(folder).count("completed") == 1
    assert last_of(worked(folder)).outcome == "completed"
    check_each_ran_once(folder, RUNS)
    faults("studies stopped on a full disk")


def test_what_no_disk_refused_still_ends_a_study(tmp_path: Path) -> None:
    def cannot(*_: Any) -> NoOp:
        raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))

    ended = last_of(worked(a_grid(tmp_path), start=cannot))
    assert ended.error
    assert ended.error.kind == "crash"
    assert not run_folders(ended.study.folder if ended.study else tmp_path / "none")
