"""What a run costs over a bare PyTorch loop: LeNet at batch 100 and batch 4 on resident data, CPU time and wall time.

Both train in one process, in turn, a block of steps each. Ours is a whole run with all its logs: every event written
to disk, the record folded, `torchdeck run`'s progress drawn on a terminal of 120 columns. The bare loop (bare.py)
works within the run's control, which is looked at after every batch; the run's clock stands still meanwhile, so that
its events stay due at their true rate. Blocks in which an epoch ends are left out of the ratio: the bare loop
evaluates nothing and saves nothing. What an epoch's end costs is told apart.

The bare loop runs with channels last, as ours does, so that the ratio shows overhead and not layout; its form with
channels first is a row of its own.

Usage: python benchmarks/training_overhead.py [--rounds 60] [--threads 1] [--peers] [--short] [--json]
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from bare import BareLoop, Resident
from blocks import CLOCKS, Clock, Figure, Times, figure, parser, report, seconds, speed_ratio, timed
from rich.console import Console

from core.config import ExperimentConfig, parse_config
from core.control import CommandName, Control
from core.data import open_dataset
from core.events import EpochCompleted, RunFailed, RunStarted
from core.images import ImageSpec
from core.models import build
from core.session import Surroundings, run
from tui.progress import RichProgress

BARS = {100: ">= 0.97", 4: ">= 0.92"}
BLOCK_SECONDS = {100: 0.0085, 4: 0.0013}
"""About the CPU time of a step, for the length of a block; the block's real length is measured."""


class RunClock:
    """The wall clock, less the time that others worked."""

    def __init__(self) -> None:
        self.away = 0.0

    def __call__(self) -> float:
        return time.perf_counter() - self.away


@dataclass
class Round:
    """A block of ours and those of the bare loops that followed it."""

    ours: Times
    bare: Times
    again: Times
    first: Times


@dataclass
class Alternating(Control):
    """Lets the bare loops work after every `steps` batches of the run."""

    clock: RunClock
    steps: int
    rounds: int
    loops: tuple[Callable[[int], None], ...] = ()
    found: list[Round] = field(default_factory=list)
    ends: list[Times] = field(default_factory=list)
    epoch_ended: bool = False
    batches: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.begun: dict[Clock, float] = {}

    def take(self) -> tuple[CommandName, str] | None:
        self.batches += 1
        if self.loops and self.batches >= self.steps:
            self._switch()
        return super().take()

    def restart(self) -> None:
        """Begin a block of ours now."""
        self.batches = 0
        self.begun = {name: clock() for name, clock in CLOCKS.items()}

    def _switch(self) -> None:
        left = time.perf_counter()
        ours: Times = {name: clock() - self.begun[name] for name, clock in CLOCKS.items()}
        if self.epoch_ended:
            self.ends.append(ours)
        else:
            bare, again, first = (timed(lambda steps=steps: steps(self.steps)) for steps in self.loops)
            self.found.append(Round(ours, bare, again, first))
            self.loops = (self.loops[1], self.loops[0], self.loops[2])
        self.epoch_ended = False
        if len(self.found) > self.rounds:
            self.request("stop", "all rounds are done")
        self.clock.away += time.perf_counter() - left
        self.restart()


def config_of(model: str, batch_size: int, threads: int) -> ExperimentConfig:
    """A run without end on noise in the shape of CIFAR-10, with hardly anything to evaluate."""
    return parse_config(
        {
            "data": {"name": "synthetic", "size": 32, "train_images": 50_000, "test_images": 100},
            "model": {"name": model},
            "optimizer": {"name": "sgd", "lr": 0.001, "momentum": 0.9},
            "training": {
                "epochs": 100_000,
                "batch_size": batch_size,
                "device": "cpu",
                "threads": threads,
                "precision": "fp32",
            },
        }
    )


def bare_loop(config: ExperimentConfig, folder: Path, channels_last: bool) -> BareLoop:
    """The same network and images as the run's."""
    split = open_dataset(config.data, folder).read("train")
    images, labels = torch.tensor(split.images), torch.tensor(split.labels)
    batches = Resident(images, labels, config.training.batch_size, channels_last)
    return BareLoop(build(config.model, ImageSpec(3, 32, 32, 10)), batches)


def measure(config: ExperimentConfig, rounds: int, steps: int) -> Alternating:
    """The rounds of one run, the first left out."""
    clock = RunClock()
    control = Alternating(clock, steps, rounds)
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    progress = RichProgress(console, clock)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        around = Surroundings(folder, clock, lambda: 1.8e9 + clock())
        for event in run(config, folder / "logs", control, surroundings=around):
            progress.show(event)
            match event:
                case RunStarted():
                    same_layout = bool(event.config["training"]["channels_last"])
                    loops = [bare_loop(config, folder, layout) for layout in (same_layout, same_layout, False)]
                    control.loops = tuple(loop.steps for loop in loops)
                    control.restart()
                case EpochCompleted():
                    control.epoch_ended = True
                case RunFailed():
                    sys.exit(event.error.traceback)
                case _:
                    pass
    progress.close()
    control.found = control.found[1:]
    return control


def figures_of(config: ExperimentConfig, control: Alternating, threads: int) -> list[Figure]:
    """The ratios of one batch size by both clocks."""
    size = config.training.batch_size
    name, rounds = f"{config.model.name}, batch {size}", control.found
    found: list[Figure] = []
    for clock in CLOCKS:
        ours, bare, again, first = (
            seconds([getattr(item, arm) for item in rounds], clock) for arm in ("ours", "bare", "again", "first")
        )
        bar = BARS.get(size, "") if clock == "cpu" and config.model.name == "lenet" else ""
        common = {"threads": threads, "clock": clock}
        found.append(speed_ratio(f"{name}: ours over the bare loop", ours, bare, again, bar=bar, **common))
        found.append(speed_ratio(f"{name}: bare with channels first over last", first, bare, again, **common))
    if control.ends:
        usual = found[0].median, sum(item.ours["cpu"] for item in rounds) / len(rounds)
        extra = [item["cpu"] - usual[1] for item in control.ends]
        found.append(figure(f"{name}: an epoch's end", extra, "cpu", unit="s", threads=threads))
    return found


def main() -> None:
    """Print the ratios as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--model", default="lenet")
    made.add_argument("--batch-sizes", type=int, nargs="+", default=[100, 4])
    made.add_argument("--rounds", type=int, default=60)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--block", type=float, help="seconds of a block, about (default 0.5; short: 0.1)")
    asked = made.parse_args()
    report("training_overhead", _figures(asked), asked.json)


def _figures(asked: argparse.Namespace) -> list[Figure]:
    found: list[Figure] = []
    for size in asked.batch_sizes:
        block = asked.block or (0.1 if asked.short else 0.5)
        steps = max(1, round(block / BLOCK_SECONDS.get(size, 0.01)))
        config = config_of(asked.model, size, asked.threads)
        found += figures_of(config, measure(config, asked.rounds, steps), asked.threads)
    return found


if __name__ == "__main__":
    main()
