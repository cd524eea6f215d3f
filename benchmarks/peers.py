"""What other frameworks cost over the same bare PyTorch loop; training_overhead.py --peers runs it.

It runs in an environment that has the frameworks, and needs nothing of Torchdeck's. Each trains LeNet on the batches
that the bare loop takes (bare.py), from an iterator: after each block of steps the iterator lets the bare loops work
before it gives the next batch. So every framework is measured as it comes, with its own loop around it.

Usage: python benchmarks/peers.py PEER BATCH_SIZE STEPS ROUNDS THREADS      (prints figures as JSON)
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from bare import BareLoop, Resident, lenet, random_images
from blocks import Turns, speed_ratio
from torch import Tensor, nn
from torch.nn import functional

REQUIREMENTS = ("lightning>=2.6,<2.7", "fastai>=2.8,<2.9", "keras>=3.15,<4")
FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "torchdeck" / "peers"
PEERS = FOLDER / "bin" / "python"
PEERS_SCRIPT = Path(__file__)
NAMES = ("lightning-barebones", "lightning", "fastai", "keras")


def peers_command() -> str:
    """The command that makes the environment, with the torch that this one has."""
    wanted = shlex.join([f"torch=={version('torch').partition('+')[0]}", *REQUIREMENTS])
    return f"uv venv --python 3.11 {FOLDER} && uv pip install --python {PEERS} {wanted}"


class Batches:
    """The batches of one block after another, the bare loops working in between, until all rounds are done."""

    def __init__(self, source: Resident, turns: Turns) -> None:
        self.source, self.turns = source, turns

    def __len__(self) -> int:
        return self.turns.steps * (self.turns.rounds + 2)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.turns.restart()
        for number, pair in enumerate(self.source):
            if number and number % self.turns.steps == 0:
                self.turns.switch()
                if self.turns.done:
                    return
            yield pair


def lightning_trains(batches: Batches, barebones: bool) -> None:
    """Lightning's Trainer, as lean as it gets or with the loss logged and shown at each step."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = lenet().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:  # noqa: ARG002
            loss = functional.cross_entropy(self.net(batch[0]), batch[1])
            if not barebones:
                self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.001, momentum=0.9)

    lean: dict[str, Any] = {"barebones": True} if barebones else {"logger": False, "enable_checkpointing": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", devices=1, **lean)
    trainer.fit(Module(), batches)


def fastai_trains(batches: Batches) -> None:
    """fastai's Learner with its recorder, without its bar, over torch's own SGD."""
    import fastai.callback.progress  # noqa: F401 - adds no_bar
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    model = lenet().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = partial(OptimWrapper, opt=torch.optim.SGD, momentum=0.9)
    learner = Learner(DataLoaders(batches, [], device="cpu"), model, nn.CrossEntropyLoss(), optimizer, lr=0.001)
    with learner.no_bar(), learner.no_logging():
        learner.fit(1)


def keras_trains(batches: Batches) -> None:
    """Keras on its torch backend, with accuracy, without its bar."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    from keras import layers

    class Data(torch.utils.data.IterableDataset[tuple[Tensor, Tensor]]):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(batches)

    keras.config.set_image_data_format("channels_first")
    model = keras.Sequential(
        [
            keras.Input((3, 32, 32)),
            *(layers.Conv2D(6, 5), layers.MaxPooling2D(2), layers.ReLU()),
            *(layers.Conv2D(16, 5), layers.MaxPooling2D(2), layers.ReLU(), layers.Flatten()),
            *(layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"), layers.Dense(10)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9), loss, metrics=["accuracy"])
    loader = torch.utils.data.DataLoader(Data(), batch_size=None)
    model.fit(loader, steps_per_epoch=len(batches), epochs=1, verbose=0)


TRAINS: dict[str, tuple[str, Callable[[Batches], None]]] = {
    "lightning-barebones": ("Lightning, barebones", lambda batches: lightning_trains(batches, True)),
    "lightning": ("Lightning, self.log and bar", lambda batches: lightning_trains(batches, False)),
    "fastai": ("fastai Learner, no bar", fastai_trains),
    "keras": ("Keras on torch, accuracy, no bar", keras_trains),
}


def main(peer: str, batch_size: int, steps: int, rounds: int, threads: int) -> None:
    """Train with one framework and print its figures."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    images, labels = random_images(50_000)
    source, turns = Resident(images, labels, batch_size, True), Turns(steps, rounds)
    turns.loops = [BareLoop(lenet(), Resident(images, labels, batch_size, True)).steps for _ in range(2)]
    name, trains = TRAINS[peer]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        trains(Batches(source, turns))
    title = f"lenet, batch {batch_size}: {name} {version(peer.partition('-')[0])}"
    found = [speed_ratio(title, *turns.times(clock), clock, threads=threads) for clock in ("cpu", "wall")]
    print(json.dumps([asdict(item) for item in found]))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
