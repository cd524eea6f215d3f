from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from stepped_training import job_of

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.events import (
    CommandApplied,
    EpochCompleted,
    EvaluationCompleted,
    RunCompleted,
    RunEvent,
    StepCompleted,
)
from torchdeck.core.session.session import SessionContext, run
from torchdeck.core.training.compiled import compiler_missing
from torchdeck.core.training.step import train_step

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]


def epochs_of(events: list[RunEvent]) -> list[EpochCompleted]:
    return [event for event in events if isinstance(event, EpochCompleted)]


def ending(events: list[RunEvent]) -> RunCompleted:
    assert isinstance(events[-1], RunCompleted), events[-1]
    return events[-1]


def one_step(config: ExperimentConfig, root: Path) -> tuple[float, torch.Tensor]:
    job = job_of(config, root)
    images, labels = next(iter(job.test_batches.evaluate(32)))
    loss = train_step(job, images, labels)
    return float(loss), torch.cat([parameter.detach().flatten() for parameter in job.model.parameters()])


def test_training_learns(small: Made, train: Train) -> None:
    epochs = epochs_of(train(small({"training.epochs": 15})))
    assert epochs[-1].metrics["test/accuracy"] > 0.9
    assert epochs[-1].metrics["train/loss"] < epochs[0].metrics["train/loss"] / 2


def test_an_epoch_tells_the_exact_means_and_every_loss(small: Made, train: Train) -> None:
    events = train(small({"optimizer.lr": 1e-30, "data.train_images": 80}))
    (first, *_) = epochs_of(events)
    losses = torch.frombuffer(bytearray(first.step_losses), dtype=torch.float32)
    assert len(losses) == 3
    weights = torch.tensor([32, 32, 16]) / 80
    assert first.metrics["train/loss"] == pytest.approx(float((losses * weights).sum()), rel=1e-6)


def test_evaluation_does_not_depend_on_its_batch_size(small: Made, train: Train) -> None:
    figures = [epochs_of(train(small({"training.evaluation_batch_size": size})))[-1].metrics for size in (7, 40)]
    assert figures[0]["test/accuracy"] == figures[1]["test/accuracy"]
    assert figures[0]["test/loss"] == pytest.approx(figures[1]["test/loss"], rel=1e-5)


def test_accumulated_gradients_are_those_of_the_whole_batch(small: Made, tmp_path: Path) -> None:
    loss, weights = one_step(small(), tmp_path)
    for parts in (2, 5):
        same_loss, same_weights = one_step(small({"training.accumulation": parts}), tmp_path)
        assert same_loss == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(same_weights, weights)


def test_label_smoothing_raises_the_training_loss_alone(small: Made, tmp_path: Path, train: Train) -> None:
    plain, _ = one_step(small(), tmp_path)
    smoothed, _ = one_step(small({"training.label_smoothing": 0.5}), tmp_path)
    assert smoothed != plain
    frozen = {"optimizer.lr": 1e-30}
    (first,) = epochs_of(train(small({**frozen, "training.epochs": 1})))
    (second,) = epochs_of(train(small({**frozen, "training.epochs": 1, "training.label_smoothing": 0.5})))
    assert first.metrics["test/loss"] == second.metrics["test/loss"]


def test_gradient_clipping_bounds_the_step(small: Made, tmp_path: Path) -> None:
    job = job_of(small(), tmp_path)
    before = torch.cat([parameter.detach().flatten() for parameter in job.model.parameters()])
    _, clipped = one_step(small({"training.gradient_clipping": 0.01, "optimizer.momentum": 0.0}), tmp_path)
    _, free = one_step(small({"optimizer.momentum": 0.0}), tmp_path)
    assert float((clipped - before).norm()) == pytest.approx(0.05 * 0.01, rel=1e-2)
    assert float((free - before).norm()) > 0.05 * 0.01 * 2


def test_bf16_trains_on_a_cpu_with_other_rounding(small: Made, tmp_path: Path, train: Train) -> None:
    exact, _ = one_step(small(), tmp_path)
    rounded, _ = one_step(small({"training.precision": "bf16"}), tmp_path)
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)
    assert (
        epochs_of(train(small({"training.precision": "bf16", "training.epochs": 15})))[-1].metrics["test/accuracy"]
        > 0.9
    )


def test_the_schedule_sets_the_learning_rate_that_events_tell(small: Made, train: Train) -> None:
    events = train(small({"schedule.name": "step", "schedule.every": 1, "schedule.factor": 0.5}))
    assert [epoch.lr for epoch in epochs_of(events)] == pytest.approx([0.05, 0.025, 0.0125])


def test_early_stopping_keeps_the_best_epoch(small: Made, train: Train) -> None:
    events = train(small({"optimizer.lr": 1e-30, "training.epochs": 50, "training.patience": 3}))
    epochs = epochs_of(events)
    assert [epoch.best for epoch in epochs] == [True, False, False, False]
    assert ending(events).reason == "no better accuracy for 3 epochs"
    assert ending(events).status == "completed"


def test_the_best_epoch_can_be_chosen_by_loss(small: Made, train: Train) -> None:
    events = train(small({"training.patience_metric": "loss", "training.epochs": 4}))
    losses = [epoch.metrics["test/loss"] for epoch in epochs_of(events)]
    last_best = [number for number, epoch in enumerate(epochs_of(events)) if epoch.best][-1]
    assert last_best == losses.index(min(losses))


def test_held_out_images_choose_the_best_and_are_not_trained_on(small: Made, train: Train) -> None:
    events = train(small({"data.validation": "held-out", "data.validation_fraction": 0.25}))
    epoch = epochs_of(events)[-1]
    assert {"validation/accuracy", "validation/loss", "test/accuracy", "test/loss"} <= set(epoch.metrics)
    assert len(epoch.step_losses) == 4 * 3


def test_the_confusion_matrix_counts_every_test_image(small: Made, train: Train) -> None:
    events = train(small())
    seen = [event for event in events if isinstance(event, EvaluationCompleted)]
    last, epoch = seen[-1].confusion, epochs_of(events)[-1]
    assert [sum(row) for row in last] == [10, 10, 10, 10]
    hits = sum(row[index] for index, row in enumerate(last))
    assert hits / 40 == pytest.approx(epoch.metrics["test/accuracy"])


def test_a_printed_interval_holds_its_mean_loss(small: Made, train: Train) -> None:
    events = train(small({"training.log_interval": 2, "data.train_images": 128, "training.epochs": 1}))
    told = [event for event in events if isinstance(event, StepCompleted) and event.interval_loss is not None]
    (epoch,) = epochs_of(events)
    losses = torch.frombuffer(bytearray(epoch.step_losses), dtype=torch.float32)
    assert [event.step for event in told] == [2, 4]
    assert [event.interval_loss for event in told] == pytest.approx(losses.view(2, 2).mean(1).tolist())


needs_a_compiler = pytest.mark.skipif(
    compiler_missing(torch.device("cpu")) != "", reason="no C++ compiler is installed"
)


@needs_a_compiler
def test_compiled_training_gives_the_same_losses(small: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled but for the code of kernels, which takes half a minute."""
    plain, weights = one_step(small(), tmp_path)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled, moved = one_step(small({"training.compile": True}), tmp_path)
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert torch.allclose(moved, weights, rtol=1e-4)


@needs_a_compiler
@pytest.mark.long
def test_training_in_compiled_kernels_gives_the_same_losses(small: Made, tmp_path: Path) -> None:
    plain, _ = one_step(small(), tmp_path)
    compiled, _ = one_step(small({"training.compile": True}), tmp_path)
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_no_torch_mode_leaks_into_whoever_iterates(small: Made, tmp_path: Path, context: SessionContext) -> None:
    config = small({"training.precision": "bf16", "data.validation": "held-out"})
    for event in run(config, tmp_path / "logs", context=context):
        assert torch.is_grad_enabled(), event
        assert not torch.is_autocast_enabled("cpu"), event
        assert not torch.is_inference_mode_enabled(), event


class Script:
    """An inbox that hands out commands at certain looks."""

    def __init__(self, commands: dict[int, Any]) -> None:
        self.commands = commands
        self.looks = 0
        self.waits = 0

    def take(self) -> Any:
        self.looks += 1
        return self.commands.pop(self.looks, None)

    def wait(self, seconds: float) -> None:
        assert seconds <= 1
        self.waits += 1


def test_a_stop_takes_the_batch_in_hand_and_no_more(small: Made, train: Train) -> None:
    events = train(small(), Script({2: ("stop", "enough")}))
    assert (ending(events).status, ending(events).reason, ending(events).step) == ("stopped", "enough", 2)


def test_a_stop_is_heard_while_evaluating(small: Made, train: Train) -> None:
    events = train(small({"training.evaluation_batch_size": 10}), Script({5: ("stop", "enough")}))
    assert ending(events).status == "stopped"
    assert ending(events).step == 3
    assert not epochs_of(events)


def test_a_stop_after_the_epoch_finishes_it(small: Made, train: Train) -> None:
    events = train(small(), Script({1: ("stop-after-epoch", "")}))
    assert ending(events).status == "stopped"
    assert [epoch.epoch for epoch in epochs_of(events)] == [1]


def test_a_pause_holds_until_it_is_lifted(small: Made, train: Train) -> None:
    script = Script({2: ("pause", ""), 6: ("unpause", "")})
    events = train(small(), script)
    assert ending(events).status == "completed"
    assert [event.command for event in events if isinstance(event, CommandApplied)] == ["pause", "unpause"]
    assert script.waits == 3


def test_a_paused_run_can_be_stopped(small: Made, train: Train) -> None:
    events = train(small(), Script({2: ("pause", ""), 4: ("stop", "over")}))
    assert (ending(events).status, ending(events).step) == ("stopped", 2)


def test_control_hands_out_commands_in_their_order() -> None:
    control = Control()
    control.request("pause")
    control.request("stop", "why")
    assert [control.take(), control.take(), control.take()] == [("pause", ""), ("stop", "why"), None]


def test_iterating_makes_nothing_before_the_first_event(small: Made, tmp_path: Path, context: SessionContext) -> None:
    events: Iterator[RunEvent] = run(small(), tmp_path / "logs", context=context)
    assert not (tmp_path / "logs").exists()
    assert next(events).seq == 0
