"""Steps by CUDA graph. On a CPU a replay calls the step on the memory that a graph reads: it must equal eager steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from presets_on_noise import PRESETS, on_noise
from stepped_training import events_of, job_of, stepped
from torch import Tensor

from torchdeck.core.config import ExperimentConfig, config_hash, parse_config, to_plain
from torchdeck.core.errors import ConfigError
from torchdeck.core.training import step_graph
from torchdeck.core.training.divergence import CountedScaler
from torchdeck.core.training.plan import Plan, make_plan
from torchdeck.core.training.state import TrainingJob, restore, state_of

NARROW = {"model.width1": 16, "model.width2": 24, "model.width3": 24}
CHANGES: dict[str, dict[str, Any]] = {
    "wrn-28-10": {"model.depth": 10, "model.widen_factor": 1},
    **dict.fromkeys(("speedrun-94", "speedrun-96"), NARROW),
}
"""Networks with the same layers and less work."""
LONG = ("mnist-resnet34", "vgg-a", "vgg-a-bn", "resnet18", "improved-cnn", "residual-cnn")
PARAMETERS = [
    *(
        pytest.param(name, CHANGES.get(name, {}), marks=[pytest.mark.long] * (name in LONG), id=name)
        for name in PRESETS
    ),
    pytest.param(
        "lenet",
        {"data.source": "streamed", "data.flip": True, "data.crop_padding": 2, "data.jitter": 0.1},
        id="streamed",
    ),
    pytest.param(
        "lenet", {"training.accumulation": 2, "training.gradient_clipping": 0.5, "training.lookahead": 3}, id="parts"
    ),
    pytest.param("lenet-dropout", {"training.precision": "bf16"}, id="bf16"),
    pytest.param("lenet", {"training.freeze_epochs": 1, "optimizer.layer_decay": 0.5}, id="frozen"),
]
SHARED = {
    "data.test_images": 4,
    "training.epochs": 2,
    "training.batch_size": 4,
    "training.device": "cpu",
    "training.precision": "fp32",
}
STEPS = 4
"""Of an epoch: the first is eager, two are replayed, the last is short."""


def scaled_job(config: ExperimentConfig, folder: Path) -> TrainingJob:
    """A job with a gradient scaler, which none has on a CPU."""
    job = job_of(config, folder)
    job.scaler = CountedScaler("cpu", enabled=True)
    return job


def final_state(job: TrainingJob) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, state = state_of(job)
    timed = ("epoch_seconds", "train_seconds")
    state["position"] = {name: value for name, value in state["position"].items() if name not in timed}
    return tensors, state


@pytest.mark.parametrize(("preset", "changes"), PARAMETERS)
def test_replayed_steps_equal_eager_ones_bit_for_bit(
    preset: str, changes: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two epochs with a short last batch; those replayed are stopped and resumed in the second epoch."""
    config = on_noise(preset, {**SHARED, **changes})
    eager = scaled_job(config, tmp_path)
    list(events_of(eager))
    wanted = final_state(eager)

    monkeypatch.setattr(step_graph, "EAGER_STEPS", 1)
    monkeypatch.setattr(Plan, "captures_steps", True)
    replays: list[int] = []
    on_input = step_graph.GraphSteps._step_on_input
    monkeypatch.setattr(step_graph.GraphSteps, "_step_on_input", lambda steps: (on_input(steps), replays.append(1)))
    first = scaled_job(config, tmp_path)
    stepped(first, STEPS + 1)
    saved = state_of(first)
    second = scaled_job(config, tmp_path)
    restore(second, *saved)
    list(events_of(second))
    found = final_state(second)
    replayed = 3 if "training.freeze_epochs" in changes else 4  # the second epoch is captured anew
    assert (second.position.step, len(replays)) == (2 * STEPS, replayed)
    assert found[1] == wanted[1]
    assert found[0].keys() == wanted[0].keys()
    assert [name for name, value in wanted[0].items() if not torch.equal(value, found[0][name])] == []


def test_the_setting_does_not_change_the_hash_of_earlier_runs() -> None:
    config = on_noise("lenet")
    assert "cuda_graph" not in config.training.identity()
    changed = parse_config(to_plain(config) | {"training": to_plain(config)["training"] | {"cuda_graph": "off"}})
    assert config_hash(changed) != config_hash(config)


@pytest.mark.parametrize("setting", ["auto", "on"])
def test_a_graph_is_refused_where_none_can_be(setting: str, tmp_path: Path) -> None:
    config = on_noise("lenet", {"training.device": "cpu", "training.cuda_graph": setting})
    if setting == "auto":
        assert not make_plan(config, tmp_path).captures_steps
        return
    with pytest.raises(ConfigError, match="one CUDA device only; use auto or off"):
        make_plan(config, tmp_path)
