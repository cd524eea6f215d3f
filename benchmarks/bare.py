"""The bare PyTorch loop that frameworks are held against; it needs torch alone.

It is what a careful user writes by hand for a resident data set: uint8 images kept with channels last, an epoch's
order from `randperm`, one gather a batch, normalisation as one multiplication and one addition, `torch.optim.SGD` as it
comes, `zero_grad`, `backward`, `step`. It keeps no loss, counts no hit and prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def lenet() -> nn.Module:
    """LeNet for 3x32x32 images of ten classes."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()),
        nn.Flatten(),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def random_images(count: int) -> tuple[Tensor, Tensor]:
    """Noise: uint8 images [N, 3, 32, 32] and labels [N] below ten."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (count,), generator=generator)


class Resident:
    """Images as uint8 in memory, normalised batch by batch, without end."""

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, channels_last: bool) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.images, self.labels = images.contiguous(memory_format=layout), labels
        self.batch_size = batch_size
        mean, std = torch.tensor(MEAN[: images.shape[1]]), torch.tensor(STD[: images.shape[1]])
        self.scale = (1 / (255 * std)).view(1, -1, 1, 1).to(images.device)
        self.shift = (-mean / std).view(1, -1, 1, 1).to(images.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.epoch()

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch in a new order."""
        order = torch.randperm(len(self.labels)).to(self.labels.device)
        for part in order.split(self.batch_size):
            yield self.images[part].float().mul_(self.scale).add_(self.shift), self.labels[part]


class BareLoop:
    """A network in training, a block of steps at a time."""

    def __init__(self, model: nn.Module, batches: Resident, lr: float = 0.001, momentum: float = 0.9) -> None:
        channels_last = batches.images.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
        self._batches = iter(batches)

    def steps(self, count: int) -> None:
        """Train on the next batches."""
        model, optimizer = self.model, self.optimizer
        for _ in range(count):
            images, labels = next(self._batches)
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
