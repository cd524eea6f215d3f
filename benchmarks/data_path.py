"""How fast images reach the network: ours over the DataLoader of the reports, and over no data path at all.

Random crop with padding 4 and random flip. Four candidates train the same network (channels last) with the same
optimizer, in turn, a block of steps each:

- ours: the batches that a run trains on, images resident as uint8;
- the reports' DataLoader: images through PIL and torchvision's RandomCrop, RandomHorizontalFlip, ToTensor and
  Normalize, with 2 workers that stay alive, and with none;
- one batch of ours reused: pure compute, a limit that no data path can pass.

CPU time counts the workers too. They read ahead, so what they do until they rest counts for the block before; a block
of wall time begins with what they had ready, which favours the DataLoader.

Usage: python benchmarks/data_path.py [--rounds 50] [--threads 1] [--model lenet] [--short] [--json]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np
import psutil
import torch
from bare import MEAN, STD, random_images
from blocks import CLOCKS, Figure, Times, alternate, parser, ratio, report, seconds, speed_ratio, timed
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from torchdeck.core.config import parse_config, parse_data
from torchdeck.core.data.batches import augmentation_of, open_batches
from torchdeck.core.data.dataset import Split
from torchdeck.core.data.epoch_plan import epoch_plan
from torchdeck.core.data.image_spec import ImageSpec
from torchdeck.core.models import build
from torchdeck.core.training.malloc import keep_freed_memory

Pairs = Iterator[tuple[Tensor, Tensor]]
BATCH_SIZE, PADDING = 100, 4
DATA = parse_data("cifar10", [f"data.crop_padding={PADDING}", "data.flip=true"])
CPU = torch.device("cpu")


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's CIFAR10 gives them: from an array, through PIL and the transforms."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        from torchvision import transforms  # seconds

        self.images, self.labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        steps = [transforms.RandomCrop(32, PADDING), transforms.RandomHorizontalFlip()]
        self.transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def ours(images: Tensor, labels: Tensor) -> Pairs:
    """The batches of a run, epoch by epoch."""
    split = Split(np.asarray(images), np.asarray(labels))
    asked = augmentation_of(DATA)
    batches = open_batches(
        split, device=CPU, streamed=False, mean=MEAN, std=STD, channels_last=True, augmentation=asked
    )
    epoch = 0
    while True:
        epoch += 1
        yield from batches.train(epoch_plan(len(labels), 1, epoch, DATA), BATCH_SIZE)


def loaded(pictures: Pictures, workers: int) -> Pairs:
    """The batches of the DataLoader, epoch by epoch."""
    kept: dict[str, Any] = {"persistent_workers": True} if workers else {}
    loader = DataLoader(pictures, BATCH_SIZE, shuffle=True, num_workers=workers, **kept)
    while True:
        yield from loader


class Trainer:
    """A network trained on some batches, `steps` a block."""

    def __init__(self, model: nn.Module, pairs: Pairs, steps: int) -> None:
        self.model = model.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.001, momentum=0.9)
        self.pairs, self.steps = pairs, steps

    def work(self) -> None:
        """One block."""
        for _ in range(self.steps):
            images, labels = next(self.pairs)
            self.optimizer.zero_grad()
            functional.cross_entropy(self.model(images), labels).backward()
            self.optimizer.step()

    def block(self) -> Times:
        """The seconds of one block, of this process alone."""
        return timed(self.work)

    def block_with_workers(self) -> Times:
        """The seconds of one block, with the CPU time of the workers until they rest."""
        before = _rested()
        own = timed(self.work)
        return {"wall": own["wall"], "cpu": own["cpu"] + _rested() - before}


def _rested() -> float:
    """CPU seconds of the child processes, once they have stopped working."""
    seen, now = -1.0, _children_seconds()
    while now != seen:
        time.sleep(0.05)
        seen, now = now, _children_seconds()
    return now


def _children_seconds() -> float:
    times = [child.cpu_times() for child in psutil.Process().children()]
    return sum(each.user + each.system for each in times)


def measure(model: str, rounds: int, steps: int, images: int, limit: float) -> dict[str, list[Times]]:
    """The blocks of the candidates, pure compute twice."""
    # As every run does; it serves all candidates here.
    keep_freed_memory()
    pixels, labels = random_images(images)
    pictures = Pictures(pixels, labels)
    options = parse_config({"data": {"name": "cifar10"}, "model": {"name": model}, "optimizer": {"name": "sgd"}}).model
    once = next(ours(pixels, labels))

    def trainer(pairs: Pairs) -> Trainer:
        return Trainer(build(options, ImageSpec(3, 32, 32, 10)), pairs, steps)

    arms: dict[str, Callable[[], Times]] = {
        "2 workers": trainer(loaded(pictures, 2)).block_with_workers,
        "0 workers": trainer(loaded(pictures, 0)).block,
        "ours": trainer(ours(pixels, labels)).block,
        "ours again": trainer(ours(pixels, labels)).block,
        "reused": trainer(cycle([once])).block,
        "reused again": trainer(cycle([once])).block,
    }
    return alternate(arms, rounds, limit)


def figures(found: dict[str, list[Times]], model: str, threads: int) -> list[Figure]:
    """Images per second of ours over each of the others, by both clocks."""
    made: list[Figure] = []
    for clock in CLOCKS:
        common: dict[str, Any] = {"clock": clock, "threads": threads}
        mine, again, pure, same = (
            seconds(found[arm], clock) for arm in ("ours", "ours again", "reused", "reused again")
        )
        for arm, bar in (("2 workers", ">= 2.2"), ("0 workers", "")):
            name, theirs = f"{model}: ours over the DataLoader, {arm}", seconds(found[arm], clock)
            made.append(ratio(name, theirs, mine, (mine, again), bar=bar if clock == "cpu" else "", **common))
        name, bar = f"{model}: ours over one batch reused", ">= 0.96" if clock == "cpu" else ""
        made.append(speed_ratio(name, mine, pure, same, bar=bar, **common))
    return made


def main() -> None:
    """Print the ratios as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--model", default="lenet")
    made.add_argument("--rounds", type=int, default=50)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--steps", type=int, help="steps of a block (default 40; short: 12)")
    made.add_argument("--images", type=int, default=50_000)
    asked = made.parse_args()
    torch.set_num_threads(asked.threads)
    steps, limit = (12, 40) if asked.short else (40, 900)
    found = measure(asked.model, asked.rounds, asked.steps or steps, asked.images, limit)
    report("data_path", figures(found, asked.model, asked.threads), asked.json)


if __name__ == "__main__":
    main()
