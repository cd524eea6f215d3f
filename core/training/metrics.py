"""The losses and hits of one phase of one epoch, kept on the device.

A step hands over what it has anyway; the few small operations that count it run for many steps together, and never wait
for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .process_group import Ranks

MOST_STEPS = 32
MOST_IMAGES = 1024


class Tally:
    """Counts the steps of a phase, of so many images each: `losses` [steps] are float32, of all ranks once combined.

    `mine` are the images of each step that this rank works on. `skipped` [steps] tells which steps a gradient scaler
    took back.
    """

    def __init__(
        self, sizes: Sequence[int], mine: Sequence[int], device: torch.device, *, at_once: bool = False
    ) -> None:
        self._counts = sizes
        self.sizes = torch.tensor(sizes, dtype=torch.float64).to(device)
        self._mine = torch.tensor(mine, dtype=torch.float64).to(device)
        self.losses = torch.zeros(len(sizes), device=device)
        self.skipped = torch.zeros(len(sizes), dtype=torch.bool, device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0
        """Of the steps so far, whoever worked on them."""
        self.steps = 0
        self.at_once = at_once
        """Count each step at once: what a captured graph gave is overwritten by its next replay."""
        self._waiting: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        self._combined = 0, self.hits

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, skipped: Tensor | None = None) -> None:
        """One step: its mean loss, its logits [B, K], its labels [B], and whether a scaler skipped it (above 0)."""
        self.images += self._counts[self.steps + len(self._waiting)]
        self._waiting.append((loss, logits, labels, skipped))
        waiting = len(self._waiting)
        if self.at_once or waiting >= MOST_STEPS or waiting * len(labels) >= MOST_IMAGES:
            self.settle()

    def pass_over(self) -> None:
        """A step in which this rank has nothing to do."""
        self.settle()
        self.images += self._counts[self.steps]
        self.steps += 1

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
        self.hits = self.hits + (torch.cat(logits).argmax(1) == torch.cat(labels)).sum()
        self.steps = end

    def combine(self, ranks: Ranks) -> None:
        """Count what all ranks saw; all of them ask for it after the same step."""
        self.settle()
        start, hits = self._combined
        if ranks.world == 1 or start == self.steps:
            return
        part = slice(start, self.steps)
        figures = torch.cat([self.losses[part] * self._mine[part], (self.hits - hits).double().view(1)])
        ranks.total(figures)
        self.losses[part] = (figures[:-1] / self.sizes[part]).float()
        self.hits = hits + figures[-1].long()
        self._combined = self.steps, self.hits

    def restore(self, losses: Tensor, hits: Tensor, skipped: Tensor | None, steps: int) -> None:
        """Go on where a checkpoint stood; one of an earlier form does not know what was skipped."""
        self.losses.copy_(losses)
        if skipped is not None:
            self.skipped.copy_(skipped)
        self.hits = hits.to(self.losses.device)
        self.images, self.steps = sum(self._counts[:steps]), steps
        self._combined = steps, self.hits

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
