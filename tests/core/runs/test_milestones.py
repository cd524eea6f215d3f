from collections.abc import Callable
from typing import Any

import pytest

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.events import DeviceSampled, EpochCompleted, RunCompleted, RunEvent
from torchdeck.core.runs.milestones import milestones, time_to
from torchdeck.core.runs.record import RunRecord, summarize
from torchdeck.core.training.pacing import Pacer
from torchdeck.core.training.state import Position


def epoch(number: int, accuracy: float, energy: float | None = 5.0) -> EpochCompleted:
    return EpochCompleted(
        epoch=number, step=number, metrics={"test/accuracy": accuracy}, lr=0.1, images_per_second=1.0,
        train_seconds=2.0, seconds=3.0, best=True, step_losses=b"", energy=energy,
    )  # fmt: skip


def test_each_percent_is_told_with_the_time_and_energy_until_it_was_first_reached() -> None:
    reached = milestones([epoch(1, 0.301), epoch(2, 0.29), epoch(3, 0.57), epoch(4, 0.5)])
    assert [(item.percent, item.epoch, item.seconds, item.train_seconds, item.energy) for item in reached] == [
        (30, 1, 3.0, 2.0, 5.0),
        (57, 3, 9.0, 6.0, 15.0),
    ]


def test_time_to_an_accuracy_is_that_of_the_first_epoch_at_or_above_it() -> None:
    reached = milestones([epoch(1, 0.3), epoch(2, 0.5)])
    assert [item.epoch if (item := time_to(percent, reached)) else None for percent in (1, 30, 31, 50, 51)] == [
        1, 1, 2, 2, None,
    ]  # fmt: skip


@pytest.mark.parametrize("accuracy", [0.0, float("nan")])
def test_no_percent_is_no_milestone(accuracy: float) -> None:
    assert milestones([epoch(1, accuracy)]) == ()


def test_energy_is_unknown_from_the_first_epoch_without_it_on() -> None:
    reached = milestones([epoch(1, 0.1), epoch(2, 0.2, None), epoch(3, 0.3)])
    assert [item.energy for item in reached] == [5.0, None, None]


Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]


def test_a_run_ends_at_its_target_accuracy(small: Made, train: Train) -> None:
    events = train(small({"training.epochs": 60, "training.target_accuracy": 0.6}))
    epochs = [event for event in events if isinstance(event, EpochCompleted)]
    ending: Any = events[-1]
    assert isinstance(ending, RunCompleted)
    assert (ending.status, ending.reason) == ("completed", "60 % accuracy is reached")
    assert len(epochs) < 60
    assert [item.metrics["test/accuracy"] >= 0.6 for item in epochs] == [False] * (len(epochs) - 1) + [True]


def test_the_summary_of_a_run_holds_its_milestones(small: Made, train: Train) -> None:
    record = RunRecord()
    for event in train(small({"training.epochs": 5})):
        record.apply(event)
    told = summarize(record)["milestones"]
    assert told[-1][0] == int(max(item.metrics["test/accuracy"] for item in record.epochs) * 100 + 1e-9)
    assert told[-1][2] <= summarize(record)["seconds"]


def test_the_energy_of_an_epoch_is_its_power_over_time() -> None:
    ticks = iter([10.0, 12.0, 12.5, 15.0])

    def power(step: int) -> DeviceSampled:
        return DeviceSampled(step=step, power=100.0)

    pacer = Pacer(Control(), lambda: next(ticks), 0.1, power)
    position, sampled = Position(), list[DeviceSampled]()
    for position.step in range(4):
        sampled += pacer.sample(position)
    assert [event.step for event in sampled] == [0, 1, 3]
    assert position.energy == 100.0 * (15.0 - 10.0)


def test_a_device_that_counts_its_energy_is_believed() -> None:
    counted = iter([1000.0, 1250.0, 1300.0])
    ticks = iter([10.0, 12.0, 15.0])

    def sample(step: int) -> DeviceSampled:
        return DeviceSampled(step=step, power=100.0, energy=next(counted))

    pacer = Pacer(Control(), lambda: next(ticks), 0.1, sample)
    position = Position()
    for _ in range(3):
        list(pacer.sample(position))
    assert position.energy == 300.0


def test_a_device_that_does_not_tell_its_power_has_no_energy(small: Made, train: Train) -> None:
    epochs = [event for event in train(small()) if isinstance(event, EpochCompleted)]
    assert {epoch.energy for epoch in epochs} == {None}
