import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from fault_counts import Faults
from stepped_training import events_of, job_of, stepped
from torch import Tensor

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.errors import DivergedError
from torchdeck.core.events import (
    CheckpointSaved,
    EpochCompleted,
    RolledBack,
    RunCompleted,
    RunEvent,
    RunFailed,
    StepCompleted,
)
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.core.training.divergence import CountedScaler
from torchdeck.core.training.state import TrainingJob, state_of

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]

EXPLODES = {"optimizer.lr": 100.0, "optimizer.weight_decay": 1.0, "training.batch_size": 12, "training.epochs": 3}
RECOVERS = {**EXPLODES, "optimizer.lr": 6.0, "training.on_divergence": "roll-back"}
"""Diverges at the learning rate asked for and at half of it, and trains at a quarter."""


Kind = TypeVar("Kind", bound=RunEvent)


def of_kind(events: list[RunEvent], kind: type[Kind]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def failure_of(events: list[RunEvent]) -> str:
    assert isinstance(events[-1], RunFailed), events[-1]
    assert events[-1].error.kind == "diverged"
    return f"{events[-1].error.message}; {events[-1].error.hint}"


def tell(events: list[RunEvent], faults: Faults) -> list[RunEvent]:
    crashes = sum(event.error.kind == "crash" for event in of_kind(events, RunFailed))
    faults("divergences", crashes=crashes)
    return events


def test_the_first_step_that_is_not_finite_is_named_however_seldom_anyone_looks(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    often = tell(list(run(small(EXPLODES), tmp_path / "often", context=context)), faults)
    first = next(event.step for event in of_kind(often, StepCompleted) if not torch.tensor(event.loss).isfinite())
    seldom = dataclasses.replace(context, sample_every=1e9)
    late = tell(list(run(small(EXPLODES), tmp_path / "late", context=seldom)), faults)
    for events in (often, late):
        assert f"diverged at step {first}: the loss is not finite" in failure_of(events)
        assert "lower optimizer.lr" in failure_of(events)
    assert of_kind(often, StepCompleted)[-1].step == first


def test_the_last_finite_checkpoint_is_kept_and_named(
    small: Made, train: Train, the_run: TheRun, faults: Faults
) -> None:
    changes = {**EXPLODES, "optimizer.lr": 2.0, "optimizer.momentum": 0.9, "optimizer.weight_decay": 1.0}
    events = tell(train(small({**changes, "training.epochs": 30})), faults)
    kept = of_kind(events, CheckpointSaved)[-1]
    assert f"checkpoint step-{kept.step:08d} is kept" in failure_of(events)
    tensors, _ = checkpoint.load(the_run() / "checkpoints" / f"step-{kept.step:08d}")
    assert all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())


def test_a_stop_never_leaves_a_checkpoint_that_is_not_finite(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    seldom = dataclasses.replace(context, sample_every=1e9)
    clock = itertools.count()

    class After:
        """Stops after the fifth batch, when the loss is no longer finite and nobody has looked."""

        def take(self) -> Any:
            return ("stop", "cut") if next(clock) == 5 else None

        def wait(self, seconds: float) -> None:
            raise AssertionError(seconds)

    told = tell(list(run(small(EXPLODES), tmp_path / "logs", After(), context=seldom)), faults)
    assert "diverged at step" in failure_of(told)
    assert of_kind(told, CheckpointSaved) == []


def test_a_poisoned_batch_norm_statistic_is_found_before_the_epoch_counts(
    small: Made, tmp_path: Path, faults: Faults
) -> None:
    faults("poisoned buffers", 2)
    for value in (float("nan"), float("inf")):
        job = job_of(
            small({"data.size": 8, "model.name": "wrn-28-10", "model.depth": 10, "model.widen_factor": 1}), tmp_path
        )
        events = stepped(job, 3)
        statistic = next(buffer for name, buffer in job.model.named_buffers() if name.endswith("running_var"))
        statistic[0] = value
        told = list[RunEvent]()
        with pytest.raises(DivergedError, match="diverged at step 3"):
            told.extend(events)
        assert of_kind(told, EpochCompleted) == []


def test_a_checkpoint_that_holds_what_is_not_finite_is_passed_over(
    small: Made, train: Train, the_run: TheRun, context: SessionContext, faults: Faults
) -> None:
    class StopLate:
        left = 12

        def take(self) -> Any:
            self.left -= 1
            return ("stop", "cut") if self.left == 0 else None

        def wait(self, seconds: float) -> None: ...

    train(small({"training.epochs": 4}), StopLate())
    root = the_run() / "checkpoints"
    place = next(checkpoint.newest_first(root))
    tensors, state = checkpoint.load(place)
    name = next(name for name in tensors if name.startswith("model."))
    tensors[name].view(-1)[0] = float("nan")
    checkpoint.save(root, int(place.name.removeprefix("step-")), tensors, state)
    faults("poisoned checkpoints")
    events = list(resume(the_run(), context=context))
    assert isinstance(events[-1], RunCompleted)
    assert (events[-1].status, load_record(the_run()).attempt) == ("completed", 2)


def nan_gradients(job: TrainingJob) -> Callable[[Tensor], Tensor]:
    """A forward pass whose loss is finite and whose gradients are not: the root of what is always 0."""
    weight = next(job.model.parameters())
    return lambda images: job.model(images) + (weight - weight.detach()).abs().sqrt().sum()


def test_gradients_that_never_fit_half_precision_end_a_run(small: Made, tmp_path: Path, faults: Faults) -> None:
    job = job_of(small({"training.batch_size": 4}), tmp_path)
    before = [value.clone() for value in job.model.parameters()]
    job.scaler, job.forward = CountedScaler("cpu"), nan_gradients(job)
    faults("skipped steps", 10)
    with pytest.raises(DivergedError, match="diverged at step 1: the gradients of 10 steps in a row"):
        list(events_of(job))
    assert all(torch.equal(now, then) for now, then in zip(job.model.parameters(), before, strict=True))


def test_a_scale_below_one_ends_a_run(small: Made, tmp_path: Path, faults: Faults) -> None:
    job = job_of(small({"training.batch_size": 4}), tmp_path)
    job.scaler, job.forward = CountedScaler("cpu", init_scale=4.0), nan_gradients(job)
    faults("skipped steps", 3)
    with pytest.raises(DivergedError, match="diverged at step 3: the gradients overflow at every scale"):
        list(events_of(job))


def test_steps_that_a_scaler_skipped_are_counted_and_survive_a_checkpoint(
    small: Made, tmp_path: Path, faults: Faults
) -> None:
    job = job_of(small({"training.batch_size": 12, "training.epochs": 1}), tmp_path)
    job.scaler, job.forward = CountedScaler("cpu"), nan_gradients(job)
    events = stepped(job, 3)
    job.forward = job.model
    assert int(state_of(job)[0]["skipped"].sum()) == 3
    faults("skipped steps", 3)
    (epoch,) = of_kind(list(events), EpochCompleted)
    assert epoch.skipped_steps == 3


def test_a_run_rolls_back_halves_its_learning_rate_and_goes_on(
    small: Made, train: Train, the_run: TheRun, faults: Faults
) -> None:
    events = tell(train(small(RECOVERS)), faults)
    backs = of_kind(events, RolledBack)
    assert [(back.to_step, back.lr_factor) for back in backs] == [(0, 0.5), (0, 0.25)]
    assert isinstance(events[-1], RunCompleted)
    rates = {step.lr for step in of_kind(events, StepCompleted)}
    assert rates == {6.0, 3.0, 1.5}
    record = load_record(the_run())
    assert [epoch.step for epoch in record.epochs] == [8, 16, 24]
    assert {epoch.lr for epoch in record.epochs} == {1.5}
    assert "diverged at step 4" in record.warnings[0]
    assert "learning rate x 0.5" in record.warnings[0]


def test_what_a_roll_back_voids_is_gone_from_the_record(
    small: Made, train: Train, the_run: TheRun, faults: Faults
) -> None:
    events = tell(train(small({**RECOVERS, "optimizer.lr": 8.0})), faults)
    assert [back.to_step for back in of_kind(events, RolledBack)] == [0, 0, 8]
    assert "diverged at step 12" in failure_of(events)
    record = load_record(the_run())
    assert [epoch.step for epoch in record.epochs] == [8]
    assert all(step.step > 8 for step in record.steps)


def test_a_run_rolls_back_three_times_at_most(small: Made, train: Train, faults: Faults) -> None:
    events = tell(train(small({**EXPLODES, "training.on_divergence": "roll-back"})), faults)
    assert [back.lr_factor for back in of_kind(events, RolledBack)] == [0.5, 0.25, 0.125]
    assert "checkpoint step-00000000 is kept" in failure_of(events)


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_run_that_rolled_back_is_resumed_exactly(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, cut: int
) -> None:
    config, looks = small(RECOVERS), itertools.count(1)

    class Cut:
        def take(self) -> Any:
            return ("stop", "cut") if next(looks) == cut else None

        def wait(self, seconds: float) -> None: ...

    whole = list(run(config, tmp_path / "whole", context=context))
    list(run(config, tmp_path / "cut", Cut(), context=context))
    (folder,) = (tmp_path / "cut").iterdir()
    resumed = list(resume(folder, context=context))
    faults("resumes")
    assert isinstance(resumed[-1], RunCompleted)
    wanted = of_kind(whole, EpochCompleted)
    assert [epoch.step_losses for epoch in load_record(folder).epochs] == [epoch.step_losses for epoch in wanted]
    assert [epoch.metrics for epoch in load_record(folder).epochs] == [epoch.metrics for epoch in wanted]
