import dataclasses
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import (
    CheckpointSaved,
    DeviceSampled,
    EpochCompleted,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    StepCompleted,
    WarningRaised,
)
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.label import Label
from torchdeck.core.runs.layout import is_locked
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.writer import reopen
from torchdeck.core.session.session import SessionContext, resume, run

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]

TIMES = {"t", "run_id", "images_per_second", "train_seconds", "seconds", "peak_memory", "manifest_sha256"}


def timeless(events: list[RunEvent]) -> list[dict[str, Any]]:
    """The events without times, names and what the machine measures."""
    told: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, DeviceSampled):
            continue
        body = {key: value for key, value in dataclasses.asdict(event).items() if key not in TIMES | {"seq"}}
        told.append({"kind": type(event).__name__, **body})
    return told


def test_one_seed_gives_the_same_events_twice(small: Made, train: Train) -> None:
    config = small({"data.flip": True, "data.crop_padding": 2, "model.dropout": 0.5})
    assert timeless(train(config)) == timeless(train(config))


def test_another_seed_gives_other_losses(small: Made, train: Train) -> None:
    first, second = (timeless(train(small({"training.seed": seed}))) for seed in (1, 2))
    assert [event.get("loss") for event in first] != [event.get("loss") for event in second]


def test_resident_and_streamed_data_give_the_same_run(small: Made, train: Train) -> None:
    augmented = {"data.flip": True, "data.crop_padding": 2, "model.dropout": 0.3}
    runs = [train(small({**augmented, "data.source": source})) for source in ("resident", "streamed")]
    losses = [[event.step_losses for event in events if isinstance(event, EpochCompleted)] for events in runs]
    figures = [[event.metrics for event in events if isinstance(event, EpochCompleted)] for events in runs]
    assert losses[0] == losses[1]
    assert figures[0] == figures[1]


def test_a_run_begins_and_ends_as_the_contract_says(small: Made, train: Train) -> None:
    events = train(small({"training.epochs": 2}))
    kinds = [type(event) for event in events]
    assert kinds.count(RunStarted) == 1
    assert kinds[-1] is RunCompleted
    assert sum(kind in (RunCompleted, RunFailed) for kind in kinds) == 1
    assert [event.seq for event in events] == list(range(len(events)))
    for number, kind in enumerate(kinds):
        if kind is EpochCompleted:
            assert kinds[number + 1] is CheckpointSaved


def test_the_log_holds_the_events_that_were_yielded(small: Made, train: Train, the_run: TheRun) -> None:
    events = train(small())
    assert list(EventReader(the_run()).read()) == events


def test_folding_live_and_folding_the_log_give_equal_records(small: Made, train: Train, the_run: TheRun) -> None:
    live = RunRecord()
    for event in train(small()):
        live.apply(event)
    from_disk = RunRecord()
    for event in EventReader(the_run()).read():
        from_disk.apply(event)
    assert from_disk == live
    assert load_record(the_run()) == live


def test_everything_automatic_is_resolved_in_the_run(small: Made, train: Train, the_run: TheRun) -> None:
    train(small({"training.threads": "auto"}))
    header = json.loads((the_run() / "run.json").read_text())
    # Whether a step can be captured as a CUDA graph is found out by trying, in each attempt.
    assert header["config"]["training"].pop("cuda_graph") == "auto"
    assert '"auto"' not in json.dumps(header["config"])
    assert header["config"]["training"]["precision"] == "fp32"
    assert header["config"]["training"]["evaluation_batch_size"] == 100


def test_a_closed_run_leaves_a_proper_last_event_and_a_free_lock(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    events = run(small(), tmp_path / "logs", context=context)
    for event in events:
        if isinstance(event, StepCompleted) and event.step == 2:
            assert is_locked(the_run())
            break
    events.close()  # type: ignore[attr-defined]
    assert is_locked(the_run()) is False
    last = list(EventReader(the_run()).read())[-1]
    assert isinstance(last, RunCompleted)
    assert (last.status, last.reason, last.step) == ("stopped", "abandoned", 2)
    assert load_record(the_run()).status == "stopped"


def test_a_second_training_in_the_process_is_refused(small: Made, tmp_path: Path, context: SessionContext) -> None:
    first = run(small(), tmp_path / "first", context=context)
    next(first)
    (refused,) = run(small(), tmp_path / "second", context=context)
    assert isinstance(refused, RunFailed)
    assert refused.error.kind == "busy"
    assert not (tmp_path / "second").exists()
    first.close()  # type: ignore[attr-defined]
    assert isinstance(list(run(small(), tmp_path / "second", context=context))[-1], RunCompleted)


BAD_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"training.batch_size": 97}, "97 is more than the 96 training images"),
    ({"data.size": 8}, "set data.size to 16 or more"),
    ({"training.device": "cuda:99"}, "training.device"),
    ({"training.precision": "fp16", "training.device": "cpu"}, "use bf16, fp32 or auto on a CPU"),
    ({"data.normalization": "mnist"}, "use computed"),
    ({"data.name": "cifar10", "data.download": False}, "cifar10 is missing"),
    ({"data.name": "image-folder"}, "is not a folder"),
    ({"model.name": "improved-cnn", "training.batch_size": 95}, "batch normalisation"),
]


@pytest.mark.parametrize(("changes", "told"), BAD_REQUESTS)
def test_what_cannot_run_is_told_before_anything_is_left_behind(
    small: Made, train: Train, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    events = train(small(changes))
    assert isinstance(events[-1], RunFailed)
    assert events[-1].error.kind == "input"
    assert told in f"{events[-1].error.message}; {events[-1].error.hint}"
    assert not (tmp_path / "logs").exists()


def test_an_unwritable_logs_folder_is_told_before_training(
    small: Made, tmp_path: Path, context: SessionContext
) -> None:
    (tmp_path / "file").write_text("in the way")
    events = list(run(small(), tmp_path / "file" / "logs", context=context))
    assert isinstance(events[-1], RunFailed)
    assert events[-1].error.kind == "input"
    assert "--logs" in events[-1].error.hint


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(small: Made, train: Train, the_run: TheRun) -> None:
    events = train(small({"optimizer.lr": 100.0, "optimizer.weight_decay": 1.0, "training.epochs": 30}))
    assert isinstance(events[-1], RunFailed)
    assert events[-1].error.kind == "diverged"
    assert "lower optimizer.lr" in events[-1].error.hint
    assert load_record(the_run()).status == "failed"


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(next(checkpoint.newest_first(folder / "checkpoints")))


class StopAt:
    """An inbox that stops the run at a look: one look a batch, evaluation batches too."""

    def __init__(self, look: int) -> None:
        self.left = look

    def take(self) -> Any:
        self.left -= 1
        return ("stop", "cut") if self.left == 0 else None

    def wait(self, seconds: float) -> None:
        raise AssertionError(f"nothing is paused, yet {seconds} s were to be waited")


HARD = {
    "data.flip": True,
    "data.crop_padding": 2,
    "model.dropout": 0.5,
    "schedule.name": "plateau",
    "schedule.patience": 0,
    "training.evaluation_batch_size": 20,
}


SPEEDRUN = {
    "data.crop_padding": 2,
    "data.crop_fill": "reflect",
    "data.flip": "alternating",
    "data.jitter": 0.1,
    "data.cutout": 4,
    "model.name": "airbench",
    "model.whitening": 2,
    "model.width1": 8,
    "model.width2": 8,
    "model.width3": 8,
    "optimizer.name": "muon",
    "optimizer.normalize": True,
    "schedule.name": "triangular",
    "training.lookahead": 2,
    "training.label_smoothing": 0.2,
    "training.test_time": "mirror-shift",
    "training.test_time_share": 0.5,
}


@pytest.mark.parametrize("cut", [1, 2, 4, 5, 8])
def test_a_resumed_speedrun_equals_the_uninterrupted_one(
    small: Made, tmp_path: Path, context: SessionContext, cut: int
) -> None:
    check_resuming(small(SPEEDRUN), cut, tmp_path, context)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("source", ["resident", "streamed"])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 6, 8, 10, 12])
def test_a_resumed_run_equals_the_uninterrupted_one(
    small: Made, tmp_path: Path, context: SessionContext, cut: int, source: str, optimizer: str
) -> None:
    config = small({**HARD, "data.source": source, "optimizer.name": optimizer, "optimizer.lr": 0.01})
    check_resuming(config, cut, tmp_path, context)


def check_resuming(config: ExperimentConfig, cut: int, tmp_path: Path, context: SessionContext) -> None:
    """A run that is cut after so many looks at control, and resumed, equals one that never was."""
    whole = list(run(config, tmp_path / "whole", context=context))
    list(run(config, tmp_path / "cut", StopAt(cut), context=context))
    (folder,) = (tmp_path / "cut").iterdir()
    list(resume(folder, context=context))
    (reference,) = (tmp_path / "whole").iterdir()
    record = load_record(folder)
    wanted = [event for event in whole if isinstance(event, EpochCompleted)]
    assert [epoch.step_losses for epoch in record.epochs] == [epoch.step_losses for epoch in wanted]
    assert [epoch.metrics for epoch in record.epochs] == [epoch.metrics for epoch in wanted]
    assert [epoch.best for epoch in record.epochs] == [epoch.best for epoch in wanted]
    ours, theirs = weights_of(folder), weights_of(reference)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert record.status == "completed"
    assert record.attempt == 2


def test_resuming_says_from_where_and_voids_what_came_after(
    small: Made, train: Train, go_on: Train, the_run: TheRun
) -> None:
    train(small(), StopAt(8))
    (folder,) = [the_run()]
    newest = next(checkpoint.newest_first(folder / "checkpoints"))
    (newest / "model.safetensors").write_bytes(b"damaged")
    (started,) = [event for event in go_on(folder) if isinstance(event, RunStarted)]
    assert (started.attempt, started.resumed_from) == (2, 3)
    assert [epoch.epoch for epoch in load_record(folder).epochs] == [1, 2, 3]


def test_a_run_without_any_checkpoint_starts_anew_in_its_directory(
    small: Made, train: Train, go_on: Train, the_run: TheRun
) -> None:
    first = train(small(), StopAt(9))
    assert sum(isinstance(event, EpochCompleted) for event in first) == 2
    for place in checkpoint.newest_first(the_run() / "checkpoints"):
        (place / "manifest.json").unlink()
    events = go_on(the_run())
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    assert started.resumed_from == 0
    assert [epoch.epoch for epoch in load_record(the_run()).epochs] == [1, 2, 3]
    assert first[-1].seq < events[0].seq


def test_a_complete_run_is_not_resumed(small: Made, train: Train, go_on: Train, the_run: TheRun) -> None:
    train(small())
    before = (the_run() / "events.jsonl").read_bytes()
    (refused,) = go_on(the_run())
    assert isinstance(refused, RunFailed)
    assert refused.error.kind == "input"
    assert (the_run() / "events.jsonl").read_bytes() == before
    assert is_locked(the_run()) is False


def test_a_resume_that_cannot_find_its_data_leaves_the_run_as_it_was(
    tmp_path: Path, small: Made, train: Train, the_run: TheRun
) -> None:
    train(small({"data.source": "streamed"}), StopAt(2))
    header = json.loads((the_run() / "run.json").read_text())
    header["config"]["data"] = {"name": "cifar10", "download": False}
    (the_run() / "run.json").write_text(json.dumps(header))
    events = list(resume(the_run(), context=SessionContext(tmp_path / "nowhere")))
    assert isinstance(events[-1], RunFailed)
    assert load_record(the_run()).status == "stopped"
    assert is_locked(the_run()) is False


def test_a_run_that_another_holds_is_not_resumed(small: Made, train: Train, go_on: Train, the_run: TheRun) -> None:
    train(small(), StopAt(2))
    writer = reopen(the_run())
    (refused,) = go_on(the_run())
    assert isinstance(refused, RunFailed)
    assert refused.error.kind == "busy"
    assert "process" in refused.error.message
    writer.close()


def checkpoints_refused(folder: Path) -> Path:
    """Make every save fail: a file stands where the folder should be."""
    (folder / "checkpoints").write_text("")
    return folder / "checkpoints"


def test_a_checkpoint_that_the_disk_refuses_costs_a_warning_and_is_made_up_for_at_the_end(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    told: list[RunEvent] = []

    def wait(_: float) -> None:
        (the_run() / "checkpoints").unlink(missing_ok=True)

    for event in run(small(), tmp_path / "logs", context=replace(context, wait=wait)):
        told.append(event)
        if isinstance(event, RunStarted):
            checkpoints_refused(the_run())
    assert isinstance(told[-1], RunCompleted)
    warned = [event.message for event in told if isinstance(event, WarningRaised)]
    assert len(warned) == 4
    assert all("checkpoint" in message for message in warned)
    assert [event.step for event in told if isinstance(event, CheckpointSaved)] == [9]


def test_a_run_whose_last_checkpoint_the_disk_refuses_fails_and_can_go_on(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun, go_on: Train
) -> None:
    told: list[RunEvent] = []
    for event in run(small(), tmp_path / "logs", context=context):
        told.append(event)
        if isinstance(event, RunStarted):
            refused = checkpoints_refused(the_run())
    last = told[-1]
    assert isinstance(last, RunFailed)
    assert last.error.kind == "disk"
    assert "the last checkpoint, of step 9" in last.error.message
    assert f"torchdeck resume {the_run().name}" in last.error.hint
    refused.unlink()
    assert isinstance(go_on(the_run())[-1], RunCompleted)


def test_a_run_carries_its_name_tags_and_reported_figures(small: Made, train: Train, the_run: TheRun) -> None:
    train(small(), preset="lenet", name="first try", tags=("paper", "x"))
    header = json.loads((the_run() / "run.json").read_text())
    assert (header["preset"], header["name"], header["tags"]) == ("lenet", "first try", ["paper", "x"])
    assert "-lenet-" in the_run().name


def test_training_leaves_no_thread_behind(small: Made, train: Train) -> None:
    before = threading.active_count()
    train(small({"data.source": "streamed"}))
    assert threading.active_count() == before


def test_a_label_is_custom_where_none_is_given() -> None:
    assert Label().preset == "custom"
