"""`import torchdeck`: the functions for scripts."""

import subprocess
import sys
from pathlib import Path

import pytest

import torchdeck
from torchdeck.core.config import parse_config
from torchdeck.core.errors import InputError
from torchdeck.core.events import EpochCompleted, RunCompleted, RunStarted

SMALL = ("data.train_limit=60", "training.batch_size=20", "training.device=cpu", "training.epochs=2")


def test_a_preset_trains_and_its_record_is_found(tmp_path: Path) -> None:
    events = list(torchdeck.run("quickstart", *SMALL, logs=tmp_path))
    assert isinstance(events[-1], RunCompleted)
    assert [event.epoch for event in events if isinstance(event, EpochCompleted)] == [1, 2]
    [row] = torchdeck.runs("quickstart status:completed", logs=tmp_path)
    assert torchdeck.runs("status:failed", logs=tmp_path) == []
    record = torchdeck.load_run(row.id[-4:], logs=str(tmp_path))
    assert record.best is not None
    assert record.best.metrics["test/accuracy"] == row.figure("test/accuracy")


def test_settings_train_like_a_preset_and_take_overrides(tmp_path: Path) -> None:
    data = {"name": "synthetic", "train_images": 20, "test_images": 10}
    content = {"data": data, "model": {"name": "lenet"}, "optimizer": {"name": "sgd", "lr": 0.1}}
    config = parse_config({**content, "training": {"epochs": 3, "batch_size": 10, "device": "cpu"}})
    *_, last = torchdeck.run(config, "training.epochs=1", logs=tmp_path)
    assert isinstance(last, RunCompleted)
    started = torchdeck.load_run("@last", logs=tmp_path).started
    assert started is not None
    assert started.config["training"]["epochs"] == 1


def test_a_run_that_was_left_is_resumed(tmp_path: Path) -> None:
    events = torchdeck.run("quickstart", *SMALL, logs=tmp_path)
    next(event for event in events if isinstance(event, EpochCompleted))
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    resumed = list(torchdeck.resume("@last", logs=tmp_path))
    assert isinstance(resumed[-1], RunCompleted)
    assert next(event for event in resumed if isinstance(event, RunStarted)).attempt == 2


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda logs: torchdeck.run("quickstrat", logs=logs), "did you mean 'quickstart'"),
        (lambda logs: torchdeck.run("quickstart", "optimizer.lrr=1", logs=logs), "optimizer.lr"),
        (lambda logs: torchdeck.resume("@last", logs=logs), "torchdeck run quickstart"),
        (lambda logs: torchdeck.load_run("@last", logs=logs), "torchdeck run quickstart"),
        (lambda logs: torchdeck.runs("statsu:done", logs=logs), "did you mean 'status'"),
    ],
)
def test_what_cannot_be_done_is_raised_at_once_with_a_hint(tmp_path: Path, call: object, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        call(tmp_path)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_importing_it_is_quick_and_tells_its_version() -> None:
    code = "import sys, torchdeck; print(torchdeck.__version__, {'torch', 'pydantic', 'numpy'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split(maxsplit=1)[1].strip() == "set()"
    with pytest.raises(AttributeError):
        _ = torchdeck.nothing_of_the_kind
