"""Running loss and accuracy of one phase of an epoch, kept on the device.

Steps pass on tensors that they have anyway; the small operations that count them run for many steps at once, and never
synchronise the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.index_plan import sent
from .process_group import Ranks

MAX_WAITING_STEPS = 32
MAX_WAITING_IMAGES = 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """The loss of the last step, the mean loss over all images, the accuracy, and the mean loss of recent steps."""

    loss: float
    mean_loss: float
    accuracy: float
    recent_loss: float
    more: tuple[float, ...] = ()


class Tally:
    """Accumulates the steps of a phase, with `sizes` images each: `losses` [steps] in float32, and hits.

    `mine` are the numbers of images of each step on this rank; after `combine` the figures are those of all ranks.
    `skipped` [steps] marks the steps that a gradient scaler skipped.
    """

    def __init__(self, sizes: Sequence[int], mine: Sequence[int], device: torch.device) -> None:
        self._counts = sizes
        self.sizes = sent(torch.tensor(sizes, dtype=torch.float64), device)
        self._mine = sent(torch.tensor(mine, dtype=torch.float64), device)
        self.losses = torch.zeros(len(sizes), device=device)
        self.skipped = torch.zeros(len(sizes), dtype=torch.bool, device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.images = 0
        """Images of all steps so far, on all ranks."""
        self.steps = 0
        self._waiting: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        self._combined = 0, torch.zeros_like(self.hits)
        self._next = torch.zeros(1, dtype=torch.int64, device=device)
        """The number of the next step that `add_on_device` counts."""
        self._next_on_host = 0

    def clear(self) -> None:
        """Start again from zero, in the same memory."""
        for tensor in (self.losses, self.skipped, self.hits):
            tensor.zero_()
        self.images = self.steps = 0
        self._waiting, self._combined = [], (0, torch.zeros_like(self.hits))

    def advance(self) -> None:
        """The host's part of adding a step; `add_on_device` follows."""
        self.flush()
        if self._next_on_host != self.steps:
            self._next.fill_(self.steps)
        self.images += self._counts[self.steps]
        self.steps += 1
        self._next_on_host = self.steps

    def add_on_device(self, loss: Tensor, logits: Tensor, labels: Tensor, skipped: Tensor | None) -> None:
        """The device's part of adding a step, which a graph can replay."""
        self.losses.index_copy_(0, self._next, loss.view(1))
        if skipped is not None:
            self.skipped.index_copy_(0, self._next, skipped.view(1) > 0)
        self.hits += (logits.argmax(1) == labels).sum()
        self._next += 1

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, skipped: Tensor | None = None) -> None:
        """Add a step: its mean loss, logits [B, K], labels [B], and whether a scaler skipped it (above 0)."""
        self.images += self._counts[self.steps + len(self._waiting)]
        self._waiting.append((loss, logits, labels, skipped))
        waiting = len(self._waiting)
        if waiting >= MAX_WAITING_STEPS or waiting * len(labels) >= MAX_WAITING_IMAGES:
            self.flush()

    def skip_step(self) -> None:
        """Add a step in which this rank has no images."""
        self.flush()
        self.images += self._counts[self.steps]
        self.steps += 1

    def flush(self) -> None:
        """Count the waiting steps."""
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

    def combine(self, ranks: Ranks) -> None:
        """Sum up the steps of all ranks; all ranks call it after the same step."""
        self.flush()
        start, hits = self._combined
        if ranks.world == 1 or start == self.steps:
            return
        part = slice(start, self.steps)
        figures = torch.cat([self.losses[part] * self._mine[part], (self.hits - hits).double().view(1)])
        ranks.sum_in_place(figures)
        self.losses[part] = (figures[:-1] / self.sizes[part]).float()
        self.hits.copy_(hits + figures[-1].long())
        self._combined = self.steps, self.hits.clone()

    def restore(self, losses: Tensor, hits: Tensor, skipped: Tensor | None, steps: int) -> None:
        """Continue from a checkpoint; old checkpoints do not have `skipped`."""
        self.losses.copy_(losses)
        if skipped is not None:
            self.skipped.copy_(skipped)
        self.hits.copy_(hits)
        self.images, self.steps = sum(self._counts[:steps]), steps
        self._combined = steps, self.hits.clone()

    def figures(self, recent: int = 1, *more: Tensor) -> Figures:
        """The figures so far and the values of `more` scalars, with one synchronisation of the device."""
        self.flush()
        losses = self.losses[: self.steps]
        total = losses.double() @ self.sizes[: self.steps]
        scalars = [losses[-1], total, self.hits, losses[-recent:].mean(), *more]
        last, sum_of_losses, hits, mean, *others = torch.stack([value.double() for value in scalars]).tolist()
        return Figures(last, sum_of_losses / self.images, hits / self.images, mean, tuple(others))
