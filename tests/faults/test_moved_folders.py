"""The folder of a run is renamed, moved away or removed while it trains: nothing is lost, and there is one folder."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_counts import Faults
from polling import until
from small_runs import only_run

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import CommandName
from torchdeck.core.events import (
    CommandApplied,
    FolderChanged,
    LogReplaced,
    RunCompleted,
    RunEvent,
    RunFailed,
    StageStarted,
)
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.commands import send_command
from torchdeck.core.runs.index import read_header
from torchdeck.core.runs.layout import is_locked, is_run
from torchdeck.core.runs.reader import EventReader, follow, load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.writer import RunWriter, claim
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.tui.terminal.exit_codes import run_exit_code

Made = Callable[..., ExperimentConfig]
Harm = Callable[[Path], Path]
"""Does something to a run's folder; where the run must be found afterwards."""

NAME = "20260101-000000-x-abcd"
CONFIG = {"model.dropout": 0.3, "training.epochs": 4}


class AtBatch:
    """An inbox that does something at a look, with the loop held up as by a step that takes long."""

    def __init__(self, look: int, act: Callable[[], object], then: CommandName | None = None) -> None:
        self._left, self._act, self._then = look, act, then

    def take(self) -> Any:
        self._left -= 1
        if self._left == 0:
            self._act()
            return (self._then, "asked") if self._then else None
        return None

    def wait(self, seconds: float) -> None:
        """Nothing ever pauses here."""


def renamed(folder: Path) -> Path:
    return folder.rename(folder.with_name("another-name"))


def removed(folder: Path) -> Path:
    # At once: what is made again while it is being removed would be in the way.
    shutil.rmtree(folder.rename(folder.parent.parent / "trash"))
    return folder


def moved_away(folder: Path) -> Path:
    folder.rename(folder.parent.parent / "elsewhere")
    return folder


def put_back_from_a_copy(folder: Path) -> Path:
    copy = folder.parent.parent / "copy"
    shutil.copytree(folder, copy)
    (copy / "events.jsonl").write_bytes((copy / "events.jsonl").read_bytes()[:-50])
    for number in itertools.count():
        folder.rename(folder.parent.parent / f"trash-{number}")
        with suppress(OSError):  # it was made again in between
            copy.rename(folder)
            return folder
    raise AssertionError


def without_its_log(folder: Path) -> Path:
    (folder / "events.jsonl").unlink()
    return folder


def without_its_header(folder: Path) -> Path:
    (folder / "run.json").unlink()
    return folder


def without_its_lock(folder: Path) -> Path:
    (folder / "run.lock").unlink()
    return folder


def with_the_logs_renamed(folder: Path) -> Path:
    return folder.parent.rename(folder.parent.with_name("logs-2")) / folder.name


def with_the_logs_removed(folder: Path) -> Path:
    shutil.rmtree(folder.parent.rename(folder.parent.with_name("trash")))
    return folder


HARMS: list[Harm] = [
    renamed, removed, moved_away, put_back_from_a_copy, without_its_log, without_its_header, without_its_lock,
    with_the_logs_renamed, with_the_logs_removed,
]  # fmt: skip


def is_whole(folder: Path) -> bool:
    """Whether a run is found there as one that trains."""
    return is_run(folder) and is_locked(folder) is True and load_record(folder).status == "running"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(next(checkpoint.newest_first(folder / "checkpoints")))


@pytest.mark.parametrize("look", [2, 6], ids=["before a checkpoint", "after one"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_run_whose_folder_goes_away_loses_nothing(
    small: Made, context: SessionContext, tmp_path: Path, faults: Faults, harm: Harm, look: int
) -> None:
    logs, places, header = tmp_path / "logs", list[Path](), dict[str, Any]()

    def act() -> None:
        header.update(read_header(logs / NAME))
        places.append(harm(logs / NAME))
        until(lambda: is_whole(places[0]), lambda: [*tmp_path.rglob("*")])

    events = list(run(small(CONFIG), logs, AtBatch(look, act), context=context, run_id=NAME))
    list(run(small(CONFIG), tmp_path / "undisturbed", context=context, run_id=NAME))
    (place,), ours = places, RunRecord()
    for event in events:
        ours.apply(event)
    last, undisturbed = events[-1], tmp_path / "undisturbed" / NAME
    same = all(torch.equal(value, weights(undisturbed)[name]) for name, value in weights(place).items())
    faults("folders removed or renamed", lost=int(not same), crashes=int(not isinstance(last, RunCompleted)))
    assert isinstance(last, RunCompleted)
    assert last.status == "completed"
    assert same
    assert list(EventReader(place).read()) == events
    assert [event.seq for event in events] == list(range(len(events)))
    assert load_record(place) == ours
    assert read_header(place) == header
    how = "renamed" if place != logs / NAME else "removed"
    assert [how in warning for warning in ours.warnings] == [True]
    assert ours.started
    assert ours.started.run_id == place.name
    assert is_locked(place) is False
    assert only_run(place.parent) == place
    asked = [event for event in events if isinstance(event, CommandApplied) and event.command == "checkpoint"]
    assert bool(asked) == (how == "removed")
    # What was said to be saved is there.
    assert {saved.step for saved in ours.checkpoints} >= set(checkpoint.steps(place / "checkpoints"))
    assert ours.best_saved in checkpoint.steps(place / "checkpoints")


def test_a_run_that_was_removed_is_stopped_and_resumed_from_a_checkpoint_made_since(
    small: Made, context: SessionContext, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"

    def act() -> None:
        removed(logs / NAME)
        until(lambda: is_whole(logs / NAME))

    events = list(run(small(CONFIG), logs, AtBatch(7, act, "stop"), context=context, run_id=NAME))
    assert isinstance(events[-1], RunCompleted)
    assert checkpoint.steps(logs / NAME / "checkpoints") == (events[-1].step,)
    assert load_record(logs / NAME).best_saved is None
    *_, last = resume(logs / NAME, context=context)
    list(run(small(CONFIG), tmp_path / "undisturbed", context=context, run_id=NAME))
    assert isinstance(last, RunCompleted)
    whole = weights(tmp_path / "undisturbed" / NAME)
    assert all(torch.equal(value, whole[name]) for name, value in weights(logs / NAME).items())


def test_a_run_that_was_moved_behind_a_link_goes_on_where_it_is(
    small: Made, context: SessionContext, tmp_path: Path
) -> None:
    folder = tmp_path / "logs" / NAME

    def act() -> None:
        moved_away(folder)
        folder.symlink_to(tmp_path / "elsewhere")

    events = list(run(small(CONFIG), folder.parent, AtBatch(5, act), context=context, run_id=NAME))
    assert list(EventReader(tmp_path / "elsewhere").read()) == events
    assert checkpoint.steps(tmp_path / "elsewhere" / "checkpoints")[0] == 12


@pytest.mark.parametrize("other", ["file", "another run"])
def test_a_run_whose_place_is_taken_fails_and_leaves_what_is_there_alone(
    small: Made, context: SessionContext, tmp_path: Path, faults: Faults, other: str
) -> None:
    folder = tmp_path / "logs" / NAME

    def act() -> None:
        folder.rename(tmp_path / "away")
        if other == "file":
            folder.write_text("mine")
        else:
            claim(folder.parent, NAME, {"preset": "other"}).close()

    events = list(run(small(CONFIG), folder.parent, AtBatch(5, act), context=context, run_id=NAME))
    faults("places of runs taken")
    last = events[-1]
    assert isinstance(last, RunFailed)
    assert run_exit_code(last, None) == 1
    assert "something else has its name" in last.error.message
    assert other != "file" or folder.read_text() == "mine"
    assert other != "another run" or (load_record(folder).epochs == [] and read_header(folder)["preset"] == "other")


def test_a_place_that_is_free_again_gets_all_that_was_said_meanwhile(
    small: Made, context: SessionContext, tmp_path: Path
) -> None:
    folder, events = tmp_path / "logs" / NAME, list[RunEvent]()
    for event in run(small(CONFIG), folder.parent, context=context, run_id=NAME):
        events.append(event)
        if event.seq == 8:
            folder.rename(tmp_path / "away")
            folder.write_text("in the way")
        if isinstance(event, RunCompleted):
            break
        if event.seq == 20:
            folder.unlink()
    assert isinstance(events[-1], RunCompleted)
    assert list(EventReader(folder).read()) == events


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    made = claim(tmp_path, NAME, {"preset": "x"})
    made.append(StageStarted(seq=0, message="zero"))
    return made


def ended(seq: int) -> RunEvent:
    return RunCompleted(seq=seq, status="completed", reason="", epoch=1, step=1, train_seconds=1.0)


@pytest.mark.parametrize("harm", [renamed, removed, with_the_logs_renamed])
def test_whoever_follows_a_run_goes_where_it_goes(writer: RunWriter, harm: Harm) -> None:
    reader, waits, places = EventReader(writer.folder), list[float](), list[Path]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            places.append(harm(writer.folder))
        if len(waits) == 3:
            writer.check_folder()
            send_command(reader.folder if harm is removed else places[0], "pause")
            writer.append(ended(1))

    seen = list(follow(writer.folder, wait=wait, reader=reader))
    assert [event.seq for event in seen] == [0, 1]
    assert not any(isinstance(event, LogReplaced) for event in seen)
    assert reader.folder == places[0] == writer.folder


def test_whoever_follows_a_run_that_nobody_makes_again_is_told(writer: RunWriter) -> None:
    waits = list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            removed(writer.folder)

    *_, last = follow(writer.folder, wait=wait)
    assert last == LogReplaced(removed=True)
    assert sum(waits) < 10


def test_a_log_on_a_disk_without_lasting_numbers_for_its_files_is_left_alone(
    writer: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    writer.check_folder()
    assert not writer.changes
    assert not writer.problem


def test_the_change_of_a_folder_is_an_event_with_what_is_left(
    small: Made, context: SessionContext, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"

    def act() -> None:
        shutil.rmtree(logs / NAME / "checkpoints" / "step-00000003")
        renamed(logs / NAME)
        until(lambda: is_whole(logs / "another-name"))

    events = list(run(small(CONFIG), logs, AtBatch(10, act), context=context, run_id=NAME))
    (change,) = [event for event in events if isinstance(event, FolderChanged)]
    assert (change.run_id, change.checkpoints) == ("another-name", (6,))
