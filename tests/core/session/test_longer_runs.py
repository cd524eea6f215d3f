"""Resuming a run with other settings: longer, with another learning rate; what cannot change is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.errors import ConfigError, InputError
from torchdeck.core.events import EpochCompleted, RunCompleted, RunEvent, RunFailed, RunStarted
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.changed_settings import change_settings
from torchdeck.core.runs.index import read_row
from torchdeck.core.runs.reader import load_record

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
GoOn = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(next(iter(checkpoint.newest_first(folder / "checkpoints"))))


def started(events: list[RunEvent]) -> RunStarted:
    return next(event for event in events if isinstance(event, RunStarted))


@pytest.mark.parametrize(
    ("settings", "exact"),
    [
        ({}, "exact"),
        ({"schedule.name": "cosine"}, "seeded"),
        ({"schedule.name": "cosine", "schedule.epochs": 9}, "exact"),
    ],
)
def test_a_finished_run_trains_longer(
    small: Made, train: Train, go_on: GoOn, the_run: TheRun, settings: dict[str, Any], exact: str
) -> None:
    train(small({**settings, "training.epochs": 2}))
    folder = the_run()
    asked = (folder / "run.json").read_bytes()
    change_settings(folder, ["training.epochs=4"])
    events = go_on(folder)
    assert isinstance(events[-1], RunCompleted)
    assert started(events).reproducible == exact
    assert [event.epoch for event in events if isinstance(event, EpochCompleted)] == [3, 4]
    record = load_record(folder)
    assert (len(record.epochs), record.attempt) == (4, 2)
    assert record.started is not None
    assert record.started.config["training"]["epochs"] == 4
    assert (folder / "run.json").read_bytes() == asked
    assert read_row(folder).header["config"]["training"]["epochs"] == 4
    train(small({**settings, "training.epochs": 4}))
    (whole,) = (path for path in folder.parent.iterdir() if path != folder)
    expected = last_weights(whole)
    same = all(torch.equal(value, expected[name]) for name, value in last_weights(folder).items())
    assert same == (exact == "exact")


def test_a_resumed_run_takes_another_learning_rate(small: Made, train: Train, go_on: GoOn, the_run: TheRun) -> None:
    train(small({"training.epochs": 1}))
    change_settings(the_run(), ["training.epochs=2", "optimizer.lr=0.001"])
    events = go_on(the_run())
    assert [event.lr for event in events if isinstance(event, EpochCompleted)] == [0.001]
    assert started(events).reproducible == "seeded"


def test_the_augmentation_may_change_but_not_what_is_evaluated(
    small: Made, train: Train, go_on: GoOn, the_run: TheRun
) -> None:
    train(small({"training.epochs": 1}))
    change_settings(the_run(), ["training.epochs=2", "data.erasing=0.5", "data.auto_augment=trivial"])
    assert isinstance(go_on(the_run())[-1], RunCompleted)
    with pytest.raises(ConfigError, match=r"data\.crop: cannot change within a run"):
        change_settings(the_run(), ["data.crop=center"])


def test_a_finished_run_says_how_it_trains_longer(small: Made, train: Train, go_on: GoOn, the_run: TheRun) -> None:
    train(small({"training.epochs": 1}))
    failed = go_on(the_run())[-1]
    assert isinstance(failed, RunFailed)
    assert f"torchdeck resume {the_run().name} training.epochs=N" in failed.error.hint


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=resnet9", "model.name: cannot change within a run; start a new run, with --from"),
        ("training.batch_size=8", "training.batch_size: cannot change"),
        ("optimizer.name=adam", "optimizer.name: cannot change"),
        ("data.size=20", "data.size: cannot change"),
        ("training.epochs=1", "2 epochs are done already"),
        ("training.epoch=4", "did you mean 'epochs'"),
    ],
)
def test_what_a_checkpoint_would_not_fit_is_refused(
    small: Made, train: Train, the_run: TheRun, override: str, message: str
) -> None:
    train(small({"training.epochs": 2}))
    with pytest.raises(ConfigError, match=message):
        change_settings(the_run(), [override])
    assert not (the_run() / "settings.json").exists()


def test_damaged_settings_of_a_run_are_those_of_its_start(small: Made, train: Train, the_run: TheRun) -> None:
    train(small({"training.epochs": 1}))
    (the_run() / "settings.json").write_text(json.dumps({"config": 7}))
    assert read_row(the_run()).header["config"]["training"]["epochs"] == 1
    (the_run() / "settings.json").write_text("{")
    assert read_row(the_run()).header["config"]["training"]["epochs"] == 1
    (the_run() / "run.json").write_text("{")
    with pytest.raises(InputError, match="is missing or damaged"):
        change_settings(the_run(), ["training.epochs=4"])
