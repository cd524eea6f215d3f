import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.devices.torch_device import computes_bf16
from torchdeck.core.events import RunEvent, RunStarted, StageStarted
from torchdeck.core.training import precision
from torchdeck.core.training.plan import Plan, device_notes, make_plan, with_precision

pytestmark = pytest.mark.usefixtures("forked_programs")

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
WIDE = {"model.name": "basic-cnn", "data.size": 32, "training.epochs": 100_000}


def plan_of(config: ExperimentConfig, root: Path) -> Plan:
    return make_plan(config, root)


def test_a_short_run_stays_in_fp32_without_a_check(small: Made, tmp_path: Path) -> None:
    assert plan_of(small({**WIDE, "training.epochs": 3}), tmp_path).config.training.precision == "fp32"


def test_a_precision_that_was_asked_for_is_kept(small: Made, tmp_path: Path) -> None:
    assert plan_of(small({**WIDE, "training.precision": "fp32"}), tmp_path).config.training.precision == "fp32"


def test_a_run_starts_with_its_precision_settled(small: Made, train: Train) -> None:
    control = Control()
    control.request("stop", "its precision is known")
    events = train(small(WIDE), control)
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    told = [event.message for event in events if isinstance(event, StageStarted)]
    assert started.config["training"]["precision"] in ("fp32", "bf16")
    assert ("measuring whether bf16 is faster" in told) == computes_bf16(torch.device("cpu"))


def test_the_check_times_both_precisions(small: Made, tmp_path: Path) -> None:
    plan = with_precision(plan_of(small({**WIDE, "training.threads": 1}), tmp_path), "fp32")
    assert precision.speedup(plan.config, plan.facts.spec, 4) > 0


@pytest.mark.parametrize(
    ("said", "chosen"),
    [('{"speedup": 1.6}', "bf16"), ('{"speedup": 1.01}', "fp32"), ("", "fp32"), ("{}", "fp32")],
)
def test_bf16_is_chosen_only_where_the_check_finds_it_faster(
    said: str, chosen: str, small: Made, tmp_path: Path
) -> None:
    plan = with_precision(plan_of(small(WIDE), tmp_path), "auto")
    assert precision.choose_precision(plan, [sys.executable, "-c", f"print({said!r})"]) == chosen


def test_a_wide_network_is_checked_with_fewer_images(small: Made, tmp_path: Path) -> None:
    wide = plan_of(small({"model.name": "wrn-28-10", "data.size": 32}), tmp_path)
    narrow = plan_of(small(WIDE), tmp_path)
    assert precision.timed_batch_size(wide) < precision.timed_batch_size(narrow) == 32


def test_a_card_that_emulates_bf16_is_noted(
    small: Callable[..., ExperimentConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    for in_hardware in (False, True):
        monkeypatch.setattr("torchdeck.core.training.plan.computes_bf16", lambda _, found=in_hardware: found)
        notes = device_notes(small({"training.precision": "bf16"}), torch.device("cuda", 0))
        assert any("training.precision=fp16" in note for note in notes) is not in_hardware
