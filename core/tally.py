"""The losses and hits of one phase of one epoch, kept on the device.

A step hands over what it has anyway; the few small operations that count it run for many steps together, and never wait
for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_STEPS = 32
MOST_IMAGES = 1024


class Tally:
    """Counts the steps of a phase of `images` images in batches of `size`: `losses` [steps] are float32.

    `skipped` [steps] tells which of them a gradient scaler took back.
    """

    def __init__(self, images: int, size: int, device: torch.device, *, at_once: bool = False) -> None:
        sizes = torch.full((-(-images // size),), size, dtype=torch.float64)
        sizes[-1] = images - size * (len(sizes) - 1)
        self.sizes = sizes.to(device)
        self.losses = torch.zeros(len(sizes), device=device)
        self.skipped = torch.zeros(len(sizes), dtype=torch.bool, device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0
        self.steps = 0
        self.at_once = at_once
        """Count each step at once: what a captured graph gave is overwritten by its next replay."""
        self._waiting: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, skipped: Tensor | None = None) -> None:
        """One step: its mean loss, its logits [B, K], its labels [B], and whether a scaler skipped it (above 0)."""
        self._waiting.append((loss, logits, labels, skipped))
        self.images += len(labels)
        waiting = len(self._waiting)
        if self.at_once or waiting >= MOST_STEPS or waiting * len(labels) >= MOST_IMAGES:
            self.settle()

    def settle(self) -> None:
        """Count what waits."""
        if not self._waiting:
            return
        losses, logits, labels, skipped = zip(*self._waiting, strict=True)
        self._waiting = []
        end = self.steps + len(losses)
        self.losses[self.steps : end] = torch.stack(losses)
        if skipped[0] is not None:
            self.skipped[self.steps : end] = torch.stack(skipped) > 0
        self.hits += (torch.cat(logits).argmax(1) == torch.cat(labels)).sum()
        self.steps = end

    def restore(self, losses: Tensor, hits: Tensor, skipped: Tensor | None, images: int, steps: int) -> None:
        """Go on where a checkpoint stood; one of an earlier form does not know what was skipped."""
        self.losses.copy_(losses)
        if skipped is not None:
            self.skipped.copy_(skipped)
        self.hits.copy_(hits)
        self.images, self.steps = images, steps

    def last_loss(self) -> float:
        """The mean loss of the last step; it leaves the device here."""
        self.settle()
        return float(self.losses[self.steps - 1])

    def mean_loss(self) -> float:
        """The mean over the images so far, whenever else it was asked for; it leaves the device here."""
        self.settle()
        losses = self.losses[: self.steps].double()
        return float(losses @ self.sizes[: self.steps]) / self.images

    def recent_loss(self, steps: int) -> float:
        """The mean of the last `steps` steps; it leaves the device here."""
        self.settle()
        return float(self.losses[max(0, self.steps - steps) : self.steps].mean())

    def accuracy(self) -> float:
        """The share of hits; it leaves the device here."""
        self.settle()
        return int(self.hits) / self.images
