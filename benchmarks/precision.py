"""What number format and memory layout are worth: steps on one batch, alternating, over fp32 with channels first.

`auto` is what `training.precision=auto` resolves to on this machine, asked of a run; its step is
measured like the others.

Usage: python benchmarks/precision.py [--models resnet9 lenet basic-cnn] [--rounds 50] [--threads N] [--short] [--json]
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from blocks import Figure, Times, alternate, parser, report, seconds, speed_ratio, timed
from torch.nn import functional

from torchdeck.core.config import ExperimentConfig, parse_config
from torchdeck.core.control import Control
from torchdeck.core.data.image_spec import ImageSpec
from torchdeck.core.events import RunFailed, RunStarted
from torchdeck.core.models import build
from torchdeck.core.session.session import SessionContext, run

STEPS = {"lenet": 12, "basic-cnn": 3}
"""Steps of a block; one of a wide network takes as long."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a step computes."""

    precision: str
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.precision}, channels {'last' if self.channels_last else 'first'}"


BASE = Variant("fp32", False)
VARIANTS = (Variant("fp32", True), Variant("bf16", False), Variant("bf16", True))


def config_of(model: str, batch_size: int, threads: int) -> ExperimentConfig:
    """A run of one batch on noise, long enough for `auto` to be measured."""
    return parse_config(
        {
            "data": {"name": "synthetic", "size": 32, "train_images": batch_size, "test_images": 10},
            "model": {"name": model},
            "optimizer": {"name": "sgd", "lr": 0.001},
            "training": {"epochs": 100_000, "batch_size": batch_size, "device": "cpu", "threads": threads},
        }
    )


def resolved(config: ExperimentConfig) -> Variant:
    """What a run makes of `auto` here; it is stopped once it has said so."""
    control, found = Control(), None
    with tempfile.TemporaryDirectory() as folder:
        for event in run(config, Path(folder) / "logs", control, context=SessionContext(Path(folder))):
            match event:
                case RunStarted():
                    training = event.config["training"]
                    found = Variant(training["precision"], bool(training["channels_last"]))
                    control.request("stop", "its settings are known")
                case RunFailed():
                    sys.exit(event.error.traceback)
                case _:
                    pass
    assert found is not None
    return found


def block(config: ExperimentConfig, variant: Variant) -> Callable[[], Times]:
    """A block of steps of a variant."""
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    size, steps = config.training.batch_size, STEPS.get(config.model.name, 1)
    model = build(config.model, ImageSpec(3, 32, 32, 10)).to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    images = torch.randn(size, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.randint(0, 10, (size,))
    half = variant.precision == "bf16"

    def work() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()

    return lambda: timed(work)


def figures(model: str, batch_size: int, rounds: int, threads: int, limit: float) -> list[Figure]:
    """The ratios of one network."""
    config = config_of(model, batch_size, threads)
    auto = resolved(config)
    torch.set_num_threads(threads)
    arms = {str(variant): block(config, variant) for variant in VARIANTS}
    arms |= {"auto": block(config, auto), "base": block(config, BASE), "base again": block(config, BASE)}
    found = alternate(arms, rounds, limit)
    base, again = seconds(found["base"], "wall"), seconds(found["base again"], "wall")
    common: dict[str, Any] = {"clock": "wall", "threads": threads}
    made = [
        speed_ratio(
            f"{model}: {variant} over fp32, channels first", seconds(found[str(variant)], "wall"), base, again, **common
        )
        for variant in VARIANTS
    ]
    bar = ">= 1.9" if model == "resnet9" else ""
    name = f"{model}: auto ({auto}) over fp32, channels first"
    return [*made, speed_ratio(name, seconds(found["auto"], "wall"), base, again, bar=bar, **common)]


def main() -> None:
    """Print the ratios as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--models", nargs="+", help="(default resnet9, lenet and basic-cnn; short: resnet9)")
    made.add_argument("--rounds", type=int, default=50)
    made.add_argument("--batch-size", type=int, default=100)
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    asked = made.parse_args()
    models = asked.models or (["resnet9"] if asked.short else ["resnet9", "lenet", "basic-cnn"])
    found = [
        item
        for model in models
        for item in figures(model, asked.batch_size, asked.rounds, asked.threads, 60 if asked.short else 600)
    ]
    report("precision", found, asked.json, batch_size=asked.batch_size)


if __name__ == "__main__":
    main()
