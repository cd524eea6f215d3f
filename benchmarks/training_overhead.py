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

import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bare import BareLoop, Resident
from blocks import CLOCKS, Figure, Times, Turns, figure, figure_from, parser, report, speed_ratio
from peers import NAMES, PEERS, PEERS_SCRIPT, peers_command
from rich.console import Console

from torchdeck.core.config import ExperimentConfig, parse_config
from torchdeck.core.control import CommandName, Control
from torchdeck.core.data import open_dataset
from torchdeck.core.data.image_spec import ImageSpec
from torchdeck.core.events import EpochCompleted, RunFailed, RunStarted
from torchdeck.core.models import build
from torchdeck.core.session.session import SessionContext, run
from torchdeck.tui.cli.run_progress import RichProgress

BARS = {100: ">= 0.97", 4: ">= 0.92"}
STEP_SECONDS = {100: 0.0085, 4: 0.0013}
"""About the time of a step, for the length of a block."""


class Alternating(Control):
    """Lets the bare loops work after every block of the run; the run's clock stands still meanwhile."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns
        self.ends: list[Times] = []
        self.epoch_ended = False
        self._batches = 0

    def clock(self) -> float:
        """The wall clock, less the time that others worked."""
        return time.perf_counter() - self.turns.away

    def take(self) -> tuple[CommandName, str] | None:
        self._batches += 1
        if self.turns.loops and self._batches >= self.turns.steps:
            self._switch()
        return super().take()

    def _switch(self) -> None:
        ours = self.turns.switch(keep=not self.epoch_ended)
        if self.epoch_ended:
            self.ends.append(ours)
        self._batches, self.epoch_ended = 0, False
        if self.turns.done:
            self.request("stop", "all rounds are done")


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
    """The blocks of one run and of the bare loops beside it: as ours is laid out, twice, and with channels first."""
    control = Alternating(Turns(steps, rounds))
    progress = RichProgress(Console(file=io.StringIO(), force_terminal=True, width=120, height=40), control.clock)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = SessionContext(folder, control.clock, lambda: 1.8e9 + control.clock())
        for event in run(config, folder / "logs", control, context=context):
            progress.show(event)
            match event:
                case RunStarted():
                    layout = bool(event.config["training"]["channels_last"])
                    control.turns.loops = [bare_loop(config, folder, kind).steps for kind in (layout, layout, False)]
                    control.turns.restart()
                case EpochCompleted():
                    control.epoch_ended = True
                case RunFailed():
                    sys.exit(event.error.traceback)
                case _:
                    pass
    progress.close()
    return control


def figures_of(config: ExperimentConfig, control: Alternating, threads: int) -> list[Figure]:
    """The ratios of one batch size by both clocks."""
    size = config.training.batch_size
    name = f"{config.model.name}, batch {size}"
    found: list[Figure] = []
    for clock in CLOCKS:
        ours, bare, again, first = control.turns.times(clock)
        bar = BARS.get(size, "") if clock == "cpu" and config.model.name == "lenet" else ""
        common = {"threads": threads, "clock": clock}
        found.append(speed_ratio(f"{name}: ours over the bare loop", ours, bare, again, bar=bar, **common))
        found.append(speed_ratio(f"{name}: bare with channels first over last", first, bare, again, **common))
    if control.ends:
        usual = statistics.mean(control.turns.times("cpu")[0])
        extra = [times["cpu"] - usual for times in control.ends]
        found.append(figure(f"{name}: an epoch's end", extra, "cpu", unit="s", threads=threads))
    return found


def main() -> None:
    """Print the ratios as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--model", default="lenet")
    made.add_argument("--batch-sizes", type=int, nargs="+", default=[100, 4])
    made.add_argument("--rounds", type=int, help="(default 60; short: 50)")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--block", type=float, help="seconds of a block, about (default 0.5; short: 0.1)")
    made.add_argument("--peers", action="store_true", help="Lightning, fastai and Keras too")
    asked = made.parse_args()
    if asked.peers and not PEERS.exists():
        sys.exit(f"the frameworks have an environment of their own; make it with:\n  {peers_command()}")
    rounds = asked.rounds or (50 if asked.short else 60)
    found: list[Figure] = []
    for size in asked.batch_sizes:
        block = asked.block or (0.1 if asked.short else 0.5)
        steps = max(1, round(block / STEP_SECONDS.get(size, 0.01)))
        config = config_of(asked.model, size, asked.threads)
        found += figures_of(config, measure(config, rounds, steps), asked.threads)
        if asked.peers:
            found += peers_beside(size, steps, rounds, asked.threads)
    report("training_overhead", found, asked.json)


def peers_beside(batch_size: int, steps: int, rounds: int, threads: int) -> list[Figure]:
    """The figures of the frameworks, each from a process of the environment that has it."""
    found: list[Figure] = []
    for peer in NAMES:
        numbers = [str(number) for number in (batch_size, steps, rounds, threads)]
        shown = subprocess.run([PEERS, PEERS_SCRIPT, peer, *numbers], stdout=subprocess.PIPE, text=True, check=True)
        found += [figure_from(item) for item in json.loads(shown.stdout.splitlines()[-1])]
    return found


if __name__ == "__main__":
    main()
