import numpy as np
import pytest

from torchdeck.core.events import EpochCompleted, RunStarted, StepCompleted
from torchdeck.core.results.curves import curve, metrics_of, seconds_to
from torchdeck.core.runs.record import RunRecord


def started(steps: int = 4) -> RunStarted:
    return RunStarted(
        run_id="r", resumed_from=None, preset="p", name="", reported=(), config={}, device="cpu", device_name="cpu",
        parameters=1, forward_flops=1, epochs=3, steps_per_epoch=steps, train_images=40, test_images=10,
        class_names=("a", "b"), chosen_on="test", reproducible="exact",
    )  # fmt: skip


def epoch(number: int, losses: list[float], accuracy: float, seconds: float = 2.0) -> EpochCompleted:
    return EpochCompleted(
        epoch=number, step=4 * number, metrics={"train/loss": 1.0, "train/accuracy": 0.1, "test/accuracy": accuracy},
        lr=0.1, images_per_second=20.0, train_seconds=seconds, seconds=seconds + 1, best=True,
        step_losses=np.array(losses, "<f4").tobytes(),
    )  # fmt: skip


def step(epoch: int, batch: int, loss: float) -> StepCompleted:
    return StepCompleted(
        phase="train", epoch=epoch, step=4 * (epoch - 1) + batch, batch=batch, batches=4, loss=loss, mean_loss=loss,
        accuracy=0.5, lr=0.1, images_per_second=20.0,
    )  # fmt: skip


@pytest.fixture
def record() -> RunRecord:
    made = RunRecord()
    told = [started(), epoch(1, [4, 3, 2, 1], 0.4), epoch(2, [1, 1, 1, 0.5], 0.6, 4.0), step(3, 2, 0.25)]
    for seq, event in enumerate(told):
        made.apply(type(event)(**{**{n: getattr(event, n) for n in event.__dataclass_fields__}, "seq": seq}))
    return made


def test_the_training_loss_has_a_point_a_step_and_those_told_of_the_epoch_in_hand(record: RunRecord) -> None:
    points = curve(record, "train/loss")
    assert points.x.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert points.y.tolist() == [4, 3, 2, 1, 1, 1, 1, 0.5, 0.25]


def test_the_training_loss_over_epochs_and_over_time_stands_within_its_epoch(record: RunRecord) -> None:
    assert curve(record, "train/loss", "epoch").x.tolist() == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5]
    assert curve(record, "train/loss", "time").x.tolist() == [0.5, 1, 1.5, 2, 3, 4, 5, 6, 7]


def test_a_metric_of_a_split_has_a_point_an_epoch(record: RunRecord) -> None:
    assert curve(record, "test/accuracy").x.tolist() == [4, 8]
    assert curve(record, "test/accuracy", "time").x.tolist() == [2, 6]
    assert curve(record, "test/accuracy", "epoch").y.tolist() == [0.4, 0.6]
    assert curve(record, "train/accuracy").x.tolist() == [4, 8, 10]


def test_a_run_that_has_not_begun_has_empty_curves() -> None:
    empty = RunRecord()
    assert len(curve(empty, "train/loss")) == len(curve(empty, "test/accuracy", "time")) == 0
    assert metrics_of(empty) == ("train/loss", "train/accuracy")


def test_the_metrics_of_a_run_are_those_it_has_points_of(record: RunRecord) -> None:
    assert metrics_of(record) == ("train/loss", "train/accuracy", "test/accuracy")


def test_the_time_to_an_accuracy_is_the_training_time_until_it_was_first_reached(record: RunRecord) -> None:
    assert seconds_to(record, 0.4) == 2.0
    assert seconds_to(record, 0.5) == 6.0
    assert seconds_to(record, 0.7) is None
