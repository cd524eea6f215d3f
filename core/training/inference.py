"""Inference: logits of images, with test-time augmentation where asked for, and predictions of all ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..config import TrainingOptions
from .process_group import Ranks

Forward = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class Predictions:
    """The top three classes [N, 3] of images, their probabilities [N, 3], and the true classes [N]."""

    classes: Tensor
    probabilities: Tensor
    labels: Tensor


def no_predictions(classes: int, device: torch.device) -> Predictions:
    """Empty predictions for a number of classes."""
    likeliest = torch.zeros(0, min(3, classes), dtype=torch.long, device=device)
    return Predictions(likeliest, likeliest.float(), likeliest[:, 0])


def joined_over_ranks(parts: Sequence[Predictions], ranks: Ranks, images: int, size: int) -> Predictions | None:
    """The predictions of all ranks in the order of the split, given those of this rank's batches; None without any."""
    if not parts:
        return None
    mine = [torch.cat([getattr(part, name) for part in parts]) for name in Predictions.__dataclass_fields__]
    return Predictions(*(_gathered(ranks, tensor, images, size) for tensor in mine))


def _gathered(ranks: Ranks, mine: Tensor, images: int, size: int) -> Tensor:
    if ranks.world == 1:
        return mine
    indices = torch.cat([torch.arange(part.start, part.stop) for part in ranks.shard.blocks(images, size)])
    whole = mine.new_zeros(images, *mine.shape[1:])
    whole[indices.to(mine.device)] = mine
    ranks.sum_in_place(whole)
    return whole


def predict(forward: Forward, images: Tensor, training: TrainingOptions) -> Tensor:
    """Logits [B, K] in float32 of images [B, C, H, W].

    The views are the images, mirrored, and shifted by a pixel both ways; with a share below 1 only the images whose two
    likeliest classes are closest get them (Jordan 2024, and the speed record of October 2025).
    """
    logits = forward(images).float()
    if training.test_time == "plain":
        return logits
    if training.test_time_share < 1:
        likeliest = logits.topk(2, dim=1).values
        margin = likeliest[:, 0] - likeliest[:, 1]
        chosen = margin.topk(math.ceil(len(images) * training.test_time_share), largest=False).indices
        return logits.index_copy(0, chosen, _mean(forward, images[chosen], logits[chosen], training.test_time))
    return _mean(forward, images, logits, training.test_time)


def _mean(forward: Forward, images: Tensor, logits: Tensor, how: str) -> Tensor:
    """The weighted mean of the logits over all views; `logits` are those of the images themselves."""
    total = (logits + _mirrored(forward, images)) / 2
    if how == "mirror":
        return total
    padded = functional.pad(images, (1, 1, 1, 1), "reflect")
    height, width = images.shape[2:]
    for corner in (0, 2):
        shifted = padded[:, :, corner : corner + height, corner : corner + width]
        total = total + (forward(shifted).float() + _mirrored(forward, shifted)) / 4
    return total / 2


def _mirrored(forward: Forward, images: Tensor) -> Tensor:
    return forward(torch.flip(images, (3,))).float()
