"""What a training step on a GPU costs the host, measured without a GPU: on null CUDA, where kernels take no time.

Four loops train one network in one process, in turn, a block of steps each: the training loop with eager steps and
with steps by CUDA graph (batches, learning rate, tally, commands, events at the usual rate), a bare loop with AMP that
gathers and normalises resident images and adds up loss and hits, and one that uses one batch again and again.

Usage: python benchmarks/host_time.py [--presets lenet ...] [--rounds 30] [--steps 25] [--short] [--json]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from bare import Resident
from blocks import Figure, alternate, figure, parser, ratio, report, seconds, timed
from on_null_cuda import restart_on_null_cuda
from torch import Tensor
from torch.nn import functional

from torchdeck import presets
from torchdeck.core.config import ExperimentConfig, parse_config, to_plain
from torchdeck.core.control import CommandName, Control
from torchdeck.core.data import open_dataset
from torchdeck.core.data.prepare import prepare
from torchdeck.core.devices.torch_device import open_sampler
from torchdeck.core.events import CommandApplied, RunEvent
from torchdeck.core.models import build
from torchdeck.core.optim import OPTIMIZERS
from torchdeck.core.training import loop
from torchdeck.core.training.pacing import Pacer
from torchdeck.core.training.plan import make_plan
from torchdeck.core.training.state import TrainingJob, build_job, configure_process
from torchdeck.core.utils.generators import run_to_end

PRESETS = ("lenet", "basic-cnn", "resnet9")
SAMPLE_SECONDS = 0.1
BATCH = 128


def config_of(preset: str, graph: str, steps: int) -> ExperimentConfig:
    """The preset on noise, with an epoch of so many steps."""
    content = to_plain(presets.load(preset).config)
    kept: Mapping[str, Any] = {key: content["data"][key] for key in ("size", "crop_padding", "flip")}
    noise = {"name": "synthetic", "train_images": steps * BATCH, "test_images": BATCH}
    training = {"epochs": 1000, "batch_size": BATCH, "device": "cuda", "patience": 0, "cuda_graph": graph}
    return parse_config(content | {"data": noise | kept, "training": content["training"] | training})


class EveryBlock(Control):
    """Gives a command, which changes nothing, after every block of steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps, self._count = steps, 0

    def take(self) -> tuple[CommandName, str] | None:
        self._count += 1
        return ("checkpoint", "end of block") if self._count % self._steps == 0 else super().take()


def job_of(config: ExperimentConfig, data: Path = Path()) -> TrainingJob:
    """The job of a config."""
    plan = make_plan(config, data)
    configure_process(plan)
    streamed = plan.config.data.source == "streamed"
    return build_job(plan, run_to_end(prepare(open_dataset(plan.config.data, data), 1, streamed)))


def training_loop(config: ExperimentConfig, steps: int) -> Callable[[], object]:
    """Blocks of steps of the training loop."""
    job = job_of(config)
    pacer = Pacer(EveryBlock(steps), time.perf_counter, SAMPLE_SECONDS, open_sampler(job.plan.device))
    events: Iterator[RunEvent] = loop.train(job, pacer)
    return lambda: next(event for event in events if isinstance(event, CommandApplied))


def bare_loop(config: ExperimentConfig, steps: int, *, gathers: bool) -> Callable[[], object]:
    """Blocks of steps of a loop with AMP; it gathers its batches, and adds up loss and hits, or uses one again."""
    job = job_of(config)
    model = build(config.model, job.plan.facts.spec).to("cuda", memory_format=torch.channels_last).train()
    optimizer = OPTIMIZERS.builder(config.optimizer.name)(config.optimizer, model)
    scaler = torch.amp.GradScaler("cuda")
    split = open_dataset(config.data, Path()).read("train")
    images, labels = (torch.tensor(part, device="cuda") for part in (split.images, split.labels))
    batches = iter(Resident(images, labels, BATCH, channels_last=True))
    batch, total, hits = next(batches), torch.zeros((), device="cuda"), torch.zeros((), device="cuda")

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16):
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if gathers:
            total.add_(loss.detach())
            hits.add_((logits.detach().argmax(1) == labels).sum())

    def block() -> None:
        for _ in range(steps):
            step(*(next(batches) if gathers else batch))

    return block


def figures_of(preset: str, rounds: int, steps: int) -> list[Figure]:
    """The ratios of one preset's loops, by CPU time."""
    whole = (rounds + 2) * steps + 100
    eager, graph = (training_loop(config_of(preset, how, whole), steps) for how in ("off", "on"))
    bare = config_of(preset, "off", whole)
    gathering, reusing = (bare_loop(bare, steps, gathers=gathers) for gathers in (True, False))
    arms = {"eager": eager, "again": eager, "graph": graph, "gathering": gathering, "reusing": reusing}
    found = alternate({name: lambda arm=arm: timed(arm) for name, arm in arms.items()}, rounds)
    times = {name: seconds(each, "cpu") for name, each in found.items()}

    def over(name: str, above: str, below: str, bar: str) -> Figure:
        same = times["eager"], times["again"]
        return ratio(f"{preset}: {name}", times[above], times[below], same, "cpu", threads=1, bar=bar)

    per_step = [1e6 * time / steps for time in times["eager"]]
    return [
        figure(f"{preset}: host time of an eager step", per_step, "cpu", threads=1, unit="us"),
        over("eager over bare AMP that gathers", "eager", "gathering", "<= 1.05"),
        over("eager over bare AMP, one batch", "eager", "reusing", "<= 1.20"),
        over("CUDA graph over eager", "graph", "eager", "<= 0.05"),
    ]


def main() -> None:
    """Print the ratios as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--presets", nargs="+", default=PRESETS)
    made.add_argument("--rounds", type=int, help="(default 30; short: 10)")
    made.add_argument("--steps", type=int, default=25, help="steps of a block (default 25)")
    asked = made.parse_args()
    # Copies within the device do nothing either.
    restart_on_null_cuda(NULL_CUDA_FAST="1")
    for check in ("check_tensors", "check_losses", "check_figures", "check_scaler"):
        # What no kernel wrote is not judged.
        setattr(loop, check, lambda *_: None)
    torch.set_num_threads(1)
    rounds = asked.rounds or (10 if asked.short else 30)
    found = [item for name in asked.presets for item in figures_of(name, rounds, asked.steps)]
    report("host_time", found, asked.json)


if __name__ == "__main__":
    main()
