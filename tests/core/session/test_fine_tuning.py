"""Runs that start from the weights of another run or of a file, and that keep a part of the network frozen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_runs import AskAt

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import CheckpointSaved, EpochCompleted, RunEvent, RunFailed, RunStarted
from torchdeck.core.runs.best_weights import best_weights
from torchdeck.core.session.session import SessionContext, resume, run

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]
NET = {"model.name": "torchvision", "model.arch": "shufflenet_v2_x0_5", "data.size": 32, "training.epochs": 2}


def started(events: list[RunEvent]) -> RunStarted:
    return next(event for event in events if isinstance(event, RunStarted))


def losses(events: list[RunEvent]) -> list[bytes]:
    return [event.step_losses for event in events if isinstance(event, EpochCompleted)]


def test_a_run_starts_from_another_runs_best_weights(small: Made, train: Train, the_run: TheRun) -> None:
    train(small({"training.epochs": 1}))
    folder = the_run()
    weights = best_weights(folder).tensors
    frozen = {"training.start_from": str(folder), "training.epochs": 1, "optimizer.lr": 1e-30}
    events = train(small(frozen))
    origin = started(events).origin
    assert (origin["kind"], origin["name"], origin["reinitialized"]) == ("run", folder.name, ())
    assert len(origin["sha256"]) == 64
    (other,) = (path for path in folder.parent.iterdir() if path != folder)
    for name, value in best_weights(other).tensors.items():
        torch.testing.assert_close(value, weights[name])


def test_only_the_last_layer_is_random_for_other_classes(small: Made, train: Train, the_run: TheRun) -> None:
    train(small({"training.epochs": 1}))
    events = train(small({"training.start_from": str(the_run()), "data.classes": 6, "training.epochs": 1}))
    assert [name.rpartition(".")[2] for name in started(events).origin["reinitialized"]] == ["weight", "bias"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "no run nowhere to start from"),
        ("nowhere.pt", "cannot be read"),
        ("wrong.safetensors", "does not fit"),
    ],
)
def test_weights_that_cannot_be_loaded_fail_with_a_fix(
    small: Made, train: Train, tmp_path: Path, given: str, message: str
) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "wrong.safetensors")
    failed = train(small({"training.start_from": str(tmp_path / given)}))[-1]
    assert isinstance(failed, RunFailed)
    assert message in failed.error.message
    assert failed.error.kind == "input"
    assert failed.error.hint


@pytest.mark.parametrize("look", [2, 6])
@pytest.mark.parametrize(
    "settings",
    [
        {"training.freeze_epochs": 1, "optimizer.name": "adamw", "optimizer.backbone_lr": 0.1},
        {"model.freeze": "batch-norm", "optimizer.layer_decay": 0.7},
        {"model.freeze": "backbone"},
    ],
)
def test_a_stopped_run_with_frozen_parts_resumes_exactly(
    small: Made, context: SessionContext, tmp_path: Path, settings: dict[str, Any], look: int
) -> None:
    config = small({**NET, **settings})
    whole = list(run(config, tmp_path / "whole", context=context))
    stopped = list(run(config, tmp_path / "stopped", AskAt({look: "stop"}), context=context))
    assert any(isinstance(event, CheckpointSaved) for event in stopped)
    (folder,) = (tmp_path / "stopped").iterdir()
    resumed = list(resume(folder, context=context))
    assert losses(resumed)[-1] == losses(whole)[-1]
    (other,) = (tmp_path / "whole").iterdir()
    expected = best_weights(other).tensors
    assert all(torch.equal(value, expected[name]) for name, value in best_weights(folder).tensors.items())
