"""The index plan of an epoch: its order, crops and flips, drawn once on the CPU from the seed and the epoch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def derive_seed(seed: int, purpose: str, epoch: int) -> int:
    """A seed below 2**63 for one purpose in one epoch."""
    content = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(content, "little") >> 1


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """For N images: their order [N], and per place in it the crop's corner [N] and whether to mirror [N], or None."""

    order: Tensor
    top: Tensor | None
    left: Tensor | None
    flip: Tensor | None


def epoch_plan(count: int, seed: int, epoch: int, crop_padding: int, flip: bool) -> IndexPlan:
    """The plan of one epoch over `count` images."""
    import torch  # seconds, and whoever only needs a seed is spared them

    def generator(purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(seed, purpose, epoch))

    def corner(purpose: str) -> Tensor | None:
        if not crop_padding:
            return None
        return torch.randint(0, 2 * crop_padding + 1, (count,), generator=generator(purpose))

    order = torch.randperm(count, generator=generator("order"))
    mirrored = torch.rand(count, generator=generator("flip")) < 0.5 if flip else None
    return IndexPlan(order, corner("top"), corner("left"), mirrored)
