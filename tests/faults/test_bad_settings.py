"""No setting, however wrong, gets as far as a device: it is rejected with its name, or the run trains."""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_settings import BAD_SETTINGS
from fault_counts import Faults
from small_runs import SMALL, changed
from stepped_training import job_of, stepped

from torchdeck.core.config import SECTIONS, TrainingOptions, parse_config
from torchdeck.core.errors import ConfigError, TorchdeckError
from torchdeck.core.events import RunFailed, StageStarted
from torchdeck.core.session.session import SessionContext, run
from torchdeck.core.settings import section_settings


def told_of(changes: Mapping[str, Any], tmp_path: Path, context: SessionContext) -> str:
    """What is said of settings that are refused, before anything is left behind."""
    try:
        config = parse_config(changed(SMALL, changes))
    except ConfigError as error:
        return error.message
    events = list(run(config, tmp_path / "logs", context=context))
    assert {type(event) for event in events[:-1]} <= {StageStarted}
    assert not (tmp_path / "logs").exists()
    last = events[-1]
    assert isinstance(last, RunFailed)
    assert last.error.kind == "input"
    return last.error.message


def test_every_bad_setting_is_refused_by_its_name(tmp_path: Path, context: SessionContext, faults: Faults) -> None:
    for path, value, more in BAD_SETTINGS:
        told = told_of({**more, path: value}, tmp_path, context)
        faults("bad settings")
        assert any(line.startswith(f"{path.removesuffix('.name')}: ") for line in told.splitlines()), (path, value)


def test_all_bad_settings_are_named_at_once(tmp_path: Path, context: SessionContext) -> None:
    wrong = {"training.epochs": 0, "optimizer.lr": -1.0, "data.jitter": math.nan, "schedule.warmup_epochs": -1}
    told = told_of({**wrong, "schedule.name": "cosine"}, tmp_path, context)
    assert {line.partition(":")[0] for line in told.splitlines()} == set(wrong)


NUMBERS: list[Any] = [0, 1, 2, 3, 5, 8, 0.001, 0.1, 0.5, 0.9, 1.5, -1, math.nan, math.inf, 1e308, -1e308, 10**400]
ODD: list[Any] = [True, "x", "auto", None, [], ""]
TINY: dict[str, list[Any]] = {
    "data.size": [8, 16, 20, 32],
    "data.train_images": [2, 7, 16, 33],
    "data.test_images": [1, 9],
    "data.classes": [2, 3, 7],
    "data.source": ["resident"],
    "data.cutout": [0, 1, 4, 32],
    "model.depth": [2, 3, 10],
    "model.widen_factor": [1, 2],
    "model.width1": [1, 4, 8],
    "model.width2": [1, 4, 8],
    "model.width3": [1, 4, 8],
    "training.threads": [1],
    "training.compile": [False],
    "training.batch_size": [1, 2, 7, 16, 33],
}
"""What is drawn for settings that decide how long a step takes."""
MODELS = ("lenet", "basic-cnn", "residual-cnn", "wrn-28-10", "airbench")


def drawn(draw: random.Random) -> dict[str, dict[str, Any]]:
    """A config in which a handful of settings are anything at all."""
    content: dict[str, dict[str, Any]] = {
        "data": {"name": "synthetic"},
        "model": {"name": draw.choice(MODELS)},
        "training": {"threads": 1},
    }
    for section in ("optimizer", "schedule"):
        table = SECTIONS[section]
        assert table
        content[section] = {"name": draw.choice(table.names())}
    for path in ("data.size", "data.train_images", "data.test_images", "training.batch_size"):
        section, _, key = path.partition(".")
        content[section][key] = draw.choice(TINY[path])
    if content["model"]["name"] in ("wrn-28-10", "airbench"):
        keys = ("depth", "widen_factor") if content["model"]["name"] == "wrn-28-10" else ("width1", "width2", "width3")
        content["model"] |= {key: draw.choice(TINY[f"model.{key}"]) for key in keys}
    settings = [item for name in content for item in section_settings(name, str(content[name].get("name", "")))]
    for item in draw.sample(settings, draw.randint(0, 5)):
        section, _, key = item.path.partition(".")
        usual: list[Any] = TINY.get(item.path) or [item.default, *item.choices] * 8 + NUMBERS
        content[section][key] = draw.choice(ODD if draw.random() < 0.1 else usual)
    return content


@pytest.mark.parametrize("part", range(6))
def test_any_config_is_refused_in_words_or_trains_a_step(tmp_path: Path, faults: Faults, soak: int, part: int) -> None:
    draw, trained, refused = random.Random(part), 0, 0
    for _ in range(50 * soak):
        content = drawn(draw)
        faults("bad settings")
        try:
            stepped(job_of(parse_config(content), tmp_path), 1)
            trained += 1
        except TorchdeckError:
            refused += 1
        except Exception as error:
            raise AssertionError(content) from error
        torch.set_num_threads(1)
    assert min(trained, refused) > 5


def test_every_setting_can_be_drawn() -> None:
    """The control of the test above: it knows of each setting of a run."""
    assert {item.path.partition(".")[2] for item in section_settings("training")} == set(TrainingOptions.model_fields)
