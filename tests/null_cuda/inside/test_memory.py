"""The plan's memory beside the allocator's, launches and waits of a step of every preset, and memory that runs out."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from gpu_process import Steps, ends, forked, launches_of_update, small, steps_of, train
from presets_on_noise import PRESETS

from torchdeck import presets
from torchdeck.core.events import Failure, RunEvent, RunFailed

MIB = 2**20
TABLE = Path(__file__).parents[3] / "docs" / "benchmarks.md"


def as_it_is(preset: str, precision: str) -> Any:
    """A preset with its own batches, on a few of noise."""
    own = {"training.batch_size": presets.load(preset).config.training.batch_size}
    evaluated = {"training.evaluation_batch_size": "auto", "data.test_images": 2000}
    return small(preset, {**own, **evaluated, "training.precision": precision}, steps=6)


def documented_launches(preset: str, found: dict[str, Steps]) -> list[int]:
    """The numbers in the preset's row of the document's table; the row is written anew where that is asked for."""
    before, rest = TABLE.read_text(encoding="utf-8").split("<!-- launches -->\n")
    body, after = rest.split("<!-- end of launches -->\n")
    rows = dict(re.findall(r"\| (\S+) \| (.+) \|", body))
    if os.environ.get("TORCHDECK_UPDATE_GOLDENS"):
        eager = [f"{steps.train.launches} [{steps.evaluate.launches}]" for steps in found.values()]
        steps = found["bf16"]
        rows[preset] = " | ".join([*eager, str(steps.replayed.launches), str(steps.train.waits)])
        head = "| preset | fp16 | bf16 | fp32 | replayed | waits |", "|---|---|---|---|---|---|"
        table = "\n".join([*head, *(f"| {name} | {rows[name]} |" for name in PRESETS if name in rows)])
        body = f"\n{table}\n\n"
        TABLE.write_text(f"{before}<!-- launches -->\n{body}<!-- end of launches -->\n{after}", encoding="utf-8")
    return [int(number) for number in re.findall(r"\d+", rows[preset])]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_step_never_waits_and_the_plan_knows_its_memory(preset: str) -> None:
    steps: dict[str, Steps] = {}
    for precision in ("fp16", "bf16", "fp32"):
        steps[precision] = found = forked(steps_of, as_it_is(preset, precision))
        assert 0.8 < found.planned / found.peak < 1.3, (precision, found)
        # A gradient scaler asks an optimizer of our own for each step whether to make it.
        waits = 1 if precision == "fp16" and "speedrun" in preset else 0
        assert (found.train.waits, found.evaluate.waits) == (waits, 0), precision
        assert (found.train.to_device, found.train.to_host) == (0, waits), precision
        # Such a wait cannot be captured; all other steps are a graph, whose inputs are copied.
        assert bool(found.warnings) is (waits > 0), found.warnings
        assert waits or found.replayed.launches < 20, (precision, found.replayed)
        assert found.replayed.waits == waits
    launches = [count for each in steps.values() for count in (each.train.launches, each.evaluate.launches)]
    for count, documented in zip(launches, documented_launches(preset, steps), strict=False):
        assert 0.9 < count / documented < 1.1, (launches, "docs/benchmarks.md has other numbers")


def test_muon_updates_many_filters_with_each_kernel() -> None:
    assert forked(launches_of_update, small("speedrun-94", {"training.precision": "bf16"})) <= 60


def on_card(changes: dict[str, Any], folder: Path, megabytes: int, others: int = 0) -> list[RunEvent]:
    """A run of resnet18 on a GPU with so much free memory, while other programs hold more."""
    card = {"NULL_CUDA_BYTES": str((megabytes + others) * MIB), "NULL_CUDA_USED": str(others * MIB)}
    config = small("resnet18", {"training.batch_size": 512, **changes}, steps=2)
    return forked(train, config, folder, **card, NULL_CUDA_CACHING="1", NULL_CUDA_FAST="1")


def failure_of(events: list[RunEvent]) -> Failure:
    last = events[-1]
    assert isinstance(last, RunFailed), last
    assert last.error.kind == "memory"
    return last.error


@pytest.mark.parametrize(("megabytes", "others"), [(300, 0), (500, 0), (900, 0), (700, 600)])
def test_out_of_memory_of_any_size_tells_the_batch_that_fits(megabytes: int, others: int, tmp_path: Path) -> None:
    failure = failure_of(on_card({}, tmp_path / "first", megabytes, others))
    assert ("nvidia-smi" in failure.hint) is (others > 0)
    for key, value in re.findall(r"training\.(batch_size|accumulation)=(\d+)", failure.hint):
        events = on_card({f"training.{key}": int(value)}, tmp_path / key, megabytes, others)
        ends(events, "completed", 3)


def test_an_evaluation_out_of_memory_tells_what_fits(tmp_path: Path) -> None:
    changes = {"training.batch_size": 32, "training.evaluation_batch_size": 4000, "data.test_images": 4000}
    failure = failure_of(on_card(changes, tmp_path / "first", 700))
    assert "evaluating 4000 images at once" in failure.message
    (fits,) = re.findall(r"training\.evaluation_batch_size=(\d+)", failure.hint)
    assert int(fits) > 256
    ends(on_card({**changes, "training.evaluation_batch_size": int(fits)}, tmp_path / "next", 700), "completed", 3)


def test_a_card_that_others_filled_is_a_matter_of_memory(tmp_path: Path) -> None:
    assert "smaller model" in failure_of(on_card({}, tmp_path, 50, 900)).hint
