"""An epoch of Torchdeck against two plain loops on the same images and network, as ratios of medians.

Usage: python benchmarks/epoch.py [--images 20000] [--rounds 5] [--model lenet] [--batch-size 100]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from core.config import ExperimentConfig, parse_config
from core.data import open_dataset
from core.events import EpochCompleted
from core.images import ImageSpec
from core.models import build
from core.session import Surroundings, run


def torchdeck(config: ExperimentConfig, folder: Path) -> Callable[[], float]:
    """Seconds of training in one epoch of a run, with its events and logs."""

    def epoch() -> float:
        events = run(config, folder / "logs", surroundings=Surroundings(folder))
        return sum(event.train_seconds for event in events if isinstance(event, EpochCompleted))

    return epoch


def plain(config: ExperimentConfig, images: Tensor, labels: Tensor, loader: bool) -> Callable[[], float]:
    """Seconds of one epoch of a hand-written loop, over a DataLoader or over slices of a shuffled tensor."""
    mean, std = images.float().mean((0, 2, 3), keepdim=True), images.float().std((0, 2, 3), keepdim=True)
    pixels = ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)
    size = config.training.batch_size

    def epoch() -> float:
        torch.manual_seed(1)
        model = build(config.model, ImageSpec(3, images.shape[2], images.shape[3], 10))
        model = model.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=config.optimizer.lr, momentum=0.9)
        batches = (
            DataLoader(TensorDataset(pixels, labels), size, shuffle=True) if loader else _slices(pixels, labels, size)
        )
        start = time.perf_counter()
        for batch, truth in batches:
            _step(model, optimizer, batch, truth)
        return time.perf_counter() - start

    return epoch


def _slices(pixels: Tensor, labels: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return [(pixels[part], labels[part]) for part in torch.randperm(len(labels)).split(size)]


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor, truth: Tensor) -> None:
    optimizer.zero_grad()
    functional.cross_entropy(model(batch), truth).backward()
    optimizer.step()


def main() -> None:
    """Time the three in turn, round by round, and print each one's median and its ratio to Torchdeck's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--batch-size", type=int, default=100)
    asked = parser.parse_args()
    config = parse_config(
        {
            "data": {"name": "synthetic", "size": 32, "train_images": asked.images, "test_images": 100},
            "model": {"name": asked.model},
            "optimizer": {"name": "sgd", "lr": 0.01},
            "training": {"epochs": 1, "batch_size": asked.batch_size, "device": "cpu"},
        }
    )
    split = open_dataset(config.data, Path()).read("train")
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    with tempfile.TemporaryDirectory() as folder:
        arms = {
            "torchdeck": torchdeck(config, Path(folder)),
            "bare loop": plain(config, images, labels, loader=False),
            "DataLoader": plain(config, images, labels, loader=True),
        }
        times: dict[str, list[float]] = {name: [] for name in arms}
        for number in range(asked.rounds + 1):
            for name, arm in arms.items():
                seconds = arm()
                if number:  # the first round warms up
                    times[name].append(seconds)
    ours = statistics.median(times["torchdeck"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        speed = asked.images / median
        print(f"{name:<11} {median:.3f} s  {speed:>9,.0f} images/s  {median / ours:.2f} times torchdeck")


if __name__ == "__main__":
    main()
