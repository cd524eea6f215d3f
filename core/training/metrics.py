"""The losses and hits of one phase of one epoch, kept on the device.

A step hands over what it has anyway; the few small operations that count it run for many steps together, and never wait
for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .process_group import Ranks

MAX_WAITING_STEPS = 32
MAX_WAITING_IMAGES = 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """What a tally comes to: the last step's loss, the mean over the images, the share of hits, recent steps' mean."""

    loss: float
    mean_loss: float
    accuracy: float
    recent_loss: float
    more: tuple[float, ...] = ()


class Tally:
    """Counts the steps of a phase, of so many images each: `losses` [steps] are float32, of all ranks once combined.

    `mine` are the images of each step that this rank works on. `skipped` [steps] tells which steps a gradient scaler
    took back.
    """

    def __init__(self, sizes: Sequence[int], mine: Sequence[int], device: torch.device) -> None:
        self._counts = sizes
        self.sizes = torch.tensor(sizes, dtype=torch.float64).to(device)
        self._mine = torch.tensor(mine, dtype=torch.float64).to(device)
        self.losses = torch.zeros(len(sizes), device=device)
        self.skipped = torch.zeros(len(sizes), dtype=torch.bool, device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0
        """Of the steps so far, whoever worked on them."""
        self.steps = 0
        self._waiting: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        self._combined = 0, self.hits

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, skipped: Tensor | None = None) -> None:
        """One step: its mean loss, its logits [B, K], its labels [B], and whether a scaler skipped it (above 0)."""
        self.images += self._counts[self.steps + len(self._waiting)]
        self._waiting.append((loss, logits, labels, skipped))
        waiting = len(self._waiting)
        if waiting >= MAX_WAITING_STEPS or waiting * len(labels) >= MAX_WAITING_IMAGES:
            self.flush()

    def skip_step(self) -> None:
        """A step in which this rank has nothing to do."""
        self.flush()
        self.images += self._counts[self.steps]
        self.steps += 1

    def flush(self) -> None:
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
        self.flush()
        start, hits = self._combined
        if ranks.world == 1 or start == self.steps:
            return
        part = slice(start, self.steps)
        figures = torch.cat([self.losses[part] * self._mine[part], (self.hits - hits).double().view(1)])
        ranks.sum_in_place(figures)
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

    def figures(self, recent: int = 1, *more: Tensor) -> Figures:
        """The figures so far, and what `more` scalars hold: they leave the device here, with one wait for it."""
        self.flush()
        losses = self.losses[: self.steps]
        total = losses.double() @ self.sizes[: self.steps]
        told = [losses[-1], total, self.hits, losses[-recent:].mean(), *more]
        last, sum_of_losses, hits, mean, *others = torch.stack([value.double() for value in told]).tolist()
        return Figures(last, sum_of_losses / self.images, hits / self.images, mean, tuple(others))
