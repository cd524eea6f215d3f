"""A run that was interrupted, anywhere and in any way, equals bit for bit one that never was."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_counts import Faults
from stepped_training import events_of, job_of, stepped
from torch import Tensor

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import EpochCompleted, RunCompleted, RunEvent, RunStarted, StepCompleted, WarningRaised
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.core.training.divergence import CountedScaler
from torchdeck.core.training.state import TrainingJob, restore, state_of

Made = Callable[..., ExperimentConfig]
State = dict[str, Any]
Tensors = dict[str, Tensor]

STEPS = 24
LOOKS = STEPS + 4
"""At control: after each training step, and once in each evaluation."""
HARD = {
    "data.size": 8,
    "data.train_images": 46,
    "data.test_images": 24,
    "data.flip": True,
    "data.crop_padding": 1,
    "data.jitter": 0.1,
    "model.name": "wrn-28-10",
    "model.depth": 10,
    "model.widen_factor": 1,
    "optimizer.lr": 0.02,
    "schedule.name": "plateau",
    "schedule.patience": 0,
    "schedule.factor": 0.5,
    "training.epochs": 4,
    "training.batch_size": 8,
}
"""Batch norm and dropout, augmentation, a schedule with a memory, and a short last batch."""
SGD = {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "optimizer.lr": 0.02}
VARIANTS = {
    "sgd resident": {**SGD, "data.source": "resident"},
    "sgd streamed": {**SGD, "data.source": "streamed"},
    "adamw resident": {"optimizer.name": "adamw", "optimizer.lr": 0.01, "data.source": "resident"},
    "adamw streamed": {"optimizer.name": "adamw", "optimizer.lr": 0.01, "data.source": "streamed"},
    "augmented": {
        **SGD,
        "data.source": "streamed",
        "data.crop": "random-resized",
        "data.auto_augment": "trivial",
        "data.color_jitter": 0.2,
        "data.rotation": 10.0,
        "data.erasing": 0.3,
    },
    "sgd lookahead": {**SGD, "training.lookahead": 5, "training.accumulation": 2, "training.gradient_clipping": 1.0},
}
EVERYWHERE = ("sgd resident", "adamw streamed")
"""Variants that are stopped at every look; the others at one in three, but in a soak."""


class StopAt:
    """An inbox that stops the run at a look: one look a batch, evaluation batches too."""

    def __init__(self, look: int) -> None:
        self.left = look

    def take(self) -> Any:
        self.left -= 1
        return ("stop", "cut") if self.left == 0 else None

    def wait(self, seconds: float) -> None:
        raise AssertionError(seconds)


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run amounts to, less what a clock told."""
    record = load_record(folder)
    assert record.status == "completed"
    place = checkpoint.folder_of(folder / "checkpoints", record.step)
    files = json.loads((place / "manifest.json").read_text())["files"]
    return {
        "losses": [epoch.step_losses for epoch in record.epochs],
        "figures": [(dict(epoch.metrics), epoch.best, epoch.lr) for epoch in record.epochs],
        "confusions": {epoch: seen.confusion for epoch, seen in record.confusions.items()},
        "weights": files["model.safetensors"]["sha256"],
        "state": files["state.safetensors"]["sha256"],
        "reason": record.reason,
    }


def whole(config: ExperimentConfig, root: Path, context: SessionContext) -> dict[str, Any]:
    """What the run amounts to that nothing interrupts."""
    list(run(config, root / "whole", context=context))
    (folder,) = (root / "whole").iterdir()
    return outcome(folder)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_at_any_step_and_resumed_equals_one_that_never_was(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, soak: int, variant: str
) -> None:
    config, seldom = small({**HARD, **VARIANTS[variant]}), dataclasses.replace(context, sample_every=1e9)
    wanted = whole(config, tmp_path, seldom)
    assert len(b"".join(wanted["losses"])) == 4 * STEPS
    for look in range(1, LOOKS + 1, 1 if variant in EVERYWHERE or soak > 1 else 3):
        list(run(config, tmp_path / str(look), StopAt(look), context=seldom))
        (folder,) = (tmp_path / str(look)).iterdir()
        assert load_record(folder).status == "stopped"
        list(resume(folder, context=seldom))
        faults("resumes")
        assert outcome(folder) == wanted, f"stopped at look {look}"


def test_a_run_stopped_at_every_second_step_equals_one_that_never_was(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    config = small({**HARD, **SGD})
    wanted = whole(config, tmp_path, context)
    list(run(config, tmp_path / "cut", StopAt(2), context=context))
    (folder,) = (tmp_path / "cut").iterdir()
    attempts = 1
    while load_record(folder).status != "completed":
        list(resume(folder, StopAt(2), context=context))
        attempts += 1
    faults("resumes", attempts)
    assert attempts > STEPS / 2
    assert outcome(folder) == wanted


def test_a_run_killed_at_any_event_and_resumed_equals_one_that_never_was(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    """A copy of the directory, made while the run goes on, is what a kill at that moment leaves behind."""
    config = small({**HARD, **SGD, "training.patience": 1, "training.patience_metric": "loss", "optimizer.lr": 0.1})
    copies: list[Path] = []
    for number, event in enumerate(run(config, tmp_path / "whole", context=context)):
        if (tmp_path / "whole").exists() and (number % 3 == 0 or not isinstance(event, StepCompleted)):
            (folder,) = (tmp_path / "whole").iterdir()
            copies.append(shutil.copytree(folder, tmp_path / "killed" / str(number) / folder.name))
    (folder,) = (tmp_path / "whole").iterdir()
    wanted = outcome(folder)
    assert wanted["reason"] == "no better loss for 1 epochs"
    for copy in copies[:-1]:
        list(resume(copy, context=context))
        faults("resumes")
        assert outcome(copy) == wanted, copy.parent.name


def test_a_run_killed_between_its_target_and_its_last_word_trains_no_further(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    config = small({**HARD, **SGD, "training.target_accuracy": 0.01})
    events = run(config, tmp_path / "logs", context=context)
    told = [next(event for event in events if isinstance(event, EpochCompleted)), next(events)]
    assert type(told[-1]).__name__ == "CheckpointSaved"
    (folder,) = (tmp_path / "logs").iterdir()
    killed = shutil.copytree(folder, tmp_path / "killed" / folder.name)
    wanted = list(events)[-1]
    faults("resumes")
    last = list(resume(killed, context=context))[-1]
    assert isinstance(wanted, RunCompleted)
    assert isinstance(last, RunCompleted)
    assert (last.reason, last.step) == (wanted.reason, wanted.step)
    assert load_record(killed).epochs[0].step_losses == load_record(folder).epochs[0].step_losses


def test_a_resumed_run_takes_what_was_automatic_from_its_own_record(
    small: Made, tmp_path: Path, context: SessionContext
) -> None:
    """Another number of threads would give other weights."""
    list(run(small({"training.threads": "auto"}), tmp_path / "logs", StopAt(2), context=context))
    (folder,) = (tmp_path / "logs").iterdir()
    torch.set_num_threads(2)
    list(resume(folder, context=context))
    assert torch.get_num_threads() == 1


def test_data_that_changed_since_is_told_when_a_run_is_resumed(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    list(run(small(), tmp_path / "logs", StopAt(2), context=context))
    (folder,) = (tmp_path / "logs").iterdir()
    header = json.loads((folder / "run.json").read_text())
    header["data"]["sha256"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(header))
    faults("changed data")
    events = list(resume(folder, context=context))
    (warned,) = [event for event in events if isinstance(event, WarningRaised)]
    assert "the data set has changed since the run started" in warned.message
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    assert started.reproducible == "seeded"


CUT = 14
"""In the third epoch, after the schedule and the scale have moved."""


def scaled(config: ExperimentConfig, root: Path) -> TrainingJob:
    """A job with every piece of state there is, its gradients scaled as half precision scales them."""
    job = job_of(config, root)
    job.scaler = CountedScaler("cpu", init_scale=8.0, growth_interval=4)
    return job


def story(job: TrainingJob, events: Iterator[RunEvent]) -> dict[str, Any]:
    """The losses, rates and scales of the steps to come, and the weights they end at."""
    told = [
        (event.loss, event.lr, job.scaler.get_scale())
        for event in events
        if isinstance(event, StepCompleted) and event.phase == "train"
    ]
    return {"steps": told, "weights": {name: value.clone() for name, value in job.model.state_dict().items()}}


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    names = left["weights"]
    return left["steps"] == right["steps"] and all(torch.equal(names[name], right["weights"][name]) for name in names)


def _without(prefix: str) -> Callable[[Tensors, State, Tensors, State], None]:
    """Leaves out the tensors of one piece: those of a fresh job stand in their place."""

    def leave_out(tensors: Tensors, _: State, fresh: Tensors, __: State) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]
        tensors |= {name: value for name, value in fresh.items() if name.startswith(prefix)}

    return leave_out


def _without_json(key: str) -> Callable[[Tensors, State, Tensors, State], None]:
    def leave_out(_: Tensors, state: State, __: Tensors, fresh: State) -> None:
        state[key] = fresh[key]

    return leave_out


def _without_batch(_: Tensors, state: State, __: Tensors, ___: State) -> None:
    state["position"] = {**state["position"], "batch": 0}


KNOCK_OUTS = {
    "model": _without("model."),
    "optimizer": _without("optimizer."),
    "schedule": _without_json("schedule"),
    "scaler": _without_json("scaler"),
    "lookahead": _without("lookahead."),
    "random state": _without("random."),
    "batch position": _without_batch,
}


@pytest.mark.parametrize("piece", ["nothing", *KNOCK_OUTS])
def test_each_piece_of_the_state_is_needed(small: Made, tmp_path: Path, faults: Faults, piece: str) -> None:
    """The control of the tests above: they would notice if a checkpoint left something out."""
    config = small({**HARD, **SGD, "training.lookahead": 5})
    job = scaled(config, tmp_path)
    rest = stepped(job, CUT)
    tensors, state = state_of(job)
    tensors, state = {name: value.clone() for name, value in tensors.items()}, json.loads(json.dumps(state))
    assert state["schedule"]["scale"] < 1
    uninterrupted = story(job, rest)
    fresh = scaled(config, tmp_path)
    if piece != "nothing":
        KNOCK_OUTS[piece](tensors, state, *state_of(fresh))
        faults("knock-outs")
    restore(fresh, tensors, state)
    assert same(story(fresh, events_of(fresh)), uninterrupted) is (piece == "nothing")


def test_the_order_of_an_epoch_is_drawn_anew_from_its_seed_alone(small: Made, tmp_path: Path) -> None:
    """What else drew random numbers between two attempts changes nothing."""
    config = small({**HARD, **SGD})
    first, second = job_of(config, tmp_path), job_of(config, tmp_path)
    told = story(first, events_of(first))
    torch.rand(1000)
    again = story(second, itertools.chain(events_of(second)))
    assert same(told, again)
