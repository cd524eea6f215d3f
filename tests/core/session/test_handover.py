"""A run that goes from one process to another: nothing of it is lost, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import AskAt

from torchdeck.core.api import SessionContext, resume, run
from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import CommandName
from torchdeck.core.errors import BusyError, InputError
from torchdeck.core.events import (
    CommandApplied,
    EpochCompleted,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    WarningRaised,
)
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.writer import reopen
from torchdeck.core.session.handover import RELEASE_TIMEOUT, take_over_run

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]


@pytest.fixture
def take_over(context: SessionContext) -> Train:
    """Takes over the run of a folder and trains it to its end."""
    return lambda folder, control=None: list(resume(folder, control, context=context, take_over=True))


@pytest.mark.parametrize("look", [1, 2, 4, 7, 8])
def test_a_run_that_was_handed_over_equals_the_undisturbed_one_bit_for_bit(
    small: Made, train: Train, take_over: Train, the_run: TheRun, tmp_path: Path, context: SessionContext, look: int
) -> None:
    config = small({"model.dropout": 0.5, "data.flip": True, "training.evaluation_batch_size": 20})
    last = train(config, AskAt({look: "hand-over"}))[-1]
    assert isinstance(last, RunCompleted)
    assert last.status == "handed_over"
    events = take_over(the_run())
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    assert started.resumed_from == last.step
    whole = list(run(config, tmp_path / "undisturbed", context=context))
    (undisturbed,) = (tmp_path / "undisturbed").iterdir()
    ours, theirs = load_record(the_run()), load_record(undisturbed)
    assert [epoch.step_losses for epoch in ours.epochs] == [epoch.step_losses for epoch in theirs.epochs]
    assert [epoch.metrics for epoch in ours.epochs] == [epoch.metrics for epoch in theirs.epochs]
    weights = [
        checkpoint.load_model(next(checkpoint.newest_first(at / "checkpoints"))) for at in (the_run(), undisturbed)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert ours.status == "completed"
    assert isinstance(whole[-1], RunCompleted)


def test_a_paused_run_stays_paused_through_a_hand_over(
    small: Made, train: Train, take_over: Train, the_run: TheRun
) -> None:
    train(small(), AskAt({2: "pause", 5: "hand-over"}))
    events = take_over(the_run(), AskAt({40: "unpause"}))
    assert [event.command for event in events if isinstance(event, CommandApplied)] == ["pause", "unpause"]
    assert load_record(the_run()).status == "completed"


def test_a_stop_after_the_epoch_is_kept_through_a_hand_over(
    small: Made, train: Train, take_over: Train, the_run: TheRun
) -> None:
    train(small(), AskAt({1: "stop-after-epoch", 2: "hand-over"}))
    last = take_over(the_run())[-1]
    assert isinstance(last, RunCompleted)
    assert (last.status, last.epoch) == ("stopped", 1)


def test_what_was_asked_just_before_a_hand_over_is_done_by_the_next_process(
    small: Made, train: Train, take_over: Train, the_run: TheRun
) -> None:
    class AskTwice(AskAt):
        def take(self) -> Any:
            self.look += 1
            return {2: ("hand-over", ""), 3: ("stop", "")}.get(self.look)

    train(small(), AskTwice({}))
    last = take_over(the_run())[-1]
    assert isinstance(last, RunCompleted)
    assert last.status == "stopped"


def test_a_hand_over_that_cannot_be_saved_leaves_the_run_where_it_is(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    told: list[RunEvent] = []

    def wait(_: float) -> None:
        (the_run() / "checkpoints").unlink(missing_ok=True)

    context = replace(context, wait=wait)
    for event in run(small(), tmp_path / "logs", AskAt({2: "hand-over"}), context=context):
        told.append(event)
        if isinstance(event, RunStarted):
            (the_run() / "checkpoints").write_text("a file where the folder should be, for a while")
    warned = [event.message for event in told if isinstance(event, WarningRaised)]
    assert "the run was not handed over: it continues in this process" in warned
    assert isinstance(told[-1], RunCompleted)
    assert told[-1].status == "completed"
    assert sum(isinstance(event, EpochCompleted) for event in told) == 3


def test_a_run_that_stopped_meanwhile_is_not_taken_over(small: Made, train: Train, the_run: TheRun) -> None:
    train(small(), AskAt({2: "stop"}))
    with pytest.raises(InputError, match="ended before it could be handed over"):
        take_over_run(the_run(), AskAt({}))
    reopen(the_run()).close()


def test_a_run_whose_process_died_meanwhile_is_taken_over(
    small: Made, tmp_path: Path, context: SessionContext, take_over: Train, the_run: TheRun
) -> None:
    events: Iterator[RunEvent] = run(small(), tmp_path / "logs", context=context)
    for event in events:
        if isinstance(event, EpochCompleted):
            break
    log = the_run() / "events.jsonl"
    died = log.read_bytes()
    events.close()  # type: ignore[attr-defined]
    log.write_bytes(died)
    (the_run() / "curves.json").unlink()
    assert load_record(the_run()).status == "died"
    assert isinstance(take_over(the_run())[-1], RunCompleted)
    assert load_record(the_run()).status == "completed"


@pytest.mark.parametrize("ask", [{}, {3: "stop"}])
def test_a_process_that_does_not_let_go_is_not_waited_for_without_end(
    small: Made, train: Train, the_run: TheRun, ask: dict[int, CommandName]
) -> None:
    train(small(), AskAt({2: "hand-over"}))
    writer, request, times = reopen(the_run()), the_run() / "control" / "hand-over", iter(range(0, 10_000, 60))
    inbox, seen = AskAt(ask), []

    def clock() -> float:
        # The process that has the run sees the request, and says nothing more.
        seen.append(request.exists())
        request.unlink(missing_ok=True)
        return next(times)

    class Looks(AskAt):
        def wait(self, seconds: float) -> None:  # noqa: ARG002
            request.unlink(missing_ok=True)

    inbox = Looks(ask)
    with pytest.raises(BusyError, match="is active in process"):
        take_over_run(the_run(), inbox, clock)
    assert not request.exists()
    assert len(seen) <= RELEASE_TIMEOUT / 60 + 3
    writer.close()


def test_taking_over_a_complete_run_is_refused(small: Made, train: Train, take_over: Train, the_run: TheRun) -> None:
    train(small())
    (refused,) = take_over(the_run())
    assert isinstance(refused, RunFailed)
    assert refused.error.kind == "input"
