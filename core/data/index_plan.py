"""The index plan of an epoch: order, crops, flips and other augmentation of its images; `epoch_plan` draws it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def derive_seed(seed: int, purpose: str, epoch: int) -> int:
    """Derive a seed below 2**63 for one purpose in one epoch."""
    content = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(content, "little") >> 1


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """For N images: their order [N], and for each position in it the augmentation of the image there, or None."""

    order: Tensor
    top: Tensor | None = None
    left: Tensor | None = None
    """The corner of the crop [N], in the padded image."""
    flip: Tensor | None = None
    """Whether to mirror [N]."""
    contrast: Tensor | None = None
    brightness: Tensor | None = None
    """The factor of the normalised pixels, and what is added to them [N]."""
    cut_top: Tensor | None = None
    cut_left: Tensor | None = None
    """The corner of the square that is blanked [N]; the square may be partly outside."""
    maps: Tensor | None = None
    """The affine map by which the image is sampled [N, 6], instead of a crop and flip; see `geometry`."""
    operations: Tensor | None = None
    strengths: Tensor | None = None
    """Colour operations and their strengths [N, K]; see `color`."""
    erased: Tensor | None = None
    """Top, left, height and width of the box that is blanked [N, 4], in pixels; 0 high for none."""

    def to(self, device: torch.device) -> IndexPlan:
        """The plan on a device."""
        return self.changed(lambda tensor: sent(tensor, device))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are not None, by name."""
        given = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in given.items() if value is not None}

    def split(self, sizes: Sequence[int]) -> Iterator[IndexPlan]:
        """The plans of consecutive batches of these sizes."""
        tensors = self.tensors()
        for parts in zip(*(tensor.split(list(sizes)) for tensor in tensors.values()), strict=True):
            yield IndexPlan(**dict(zip(tensors, parts, strict=True)))

    def changed(self, change: Callable[[Tensor], Tensor]) -> IndexPlan:
        """The plan with each of its tensors changed."""
        return dataclasses.replace(self, **{name: change(value) for name, value in self.tensors().items()})


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; for a GPU it is pinned first, because a copy from other memory synchronises the device."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of each batch that one of several ranks works on: an even share, of a short batch perhaps nothing."""

    rank: int = 0
    world: int = 1

    def sizes(self, count: int, batch_size: int) -> list[int]:
        """The number of images on this rank in each batch of an epoch over `count` images."""
        whole, rest = divmod(count, batch_size)
        sizes = [self._of(batch_size)[1]] * whole
        return [*sizes, self._of(rest)[1]] if rest else sizes

    def blocks(self, count: int, size: int) -> list[slice]:
        """The batches of `size` that this rank evaluates of `count` images; ranks take turns and have equally many."""
        starts = range(self.rank * size, count + self.world * size, self.world * size)
        rounds = -(-count // (self.world * size))
        return [slice(min(start, count), min(start + size, count)) for start in starts[:rounds]]

    def of(self, plan: IndexPlan, batch_size: int) -> IndexPlan:
        """The part of an epoch's plan for this rank."""
        if self.world == 1:
            return plan
        import torch  # takes seconds, and code that only derives seeds does not need it

        count = len(plan.order)
        place = torch.arange(count)
        last = count - count % batch_size
        start, size = (torch.full((count,), value) for value in self._of(batch_size))
        start[last:], size[last:] = self._of(count % batch_size)
        within = place % batch_size - start
        mine = (within >= 0) & (within < size)
        return plan.changed(lambda tensor: tensor[mine])

    def _of(self, batch: int) -> tuple[int, int]:
        """The start and the size of this rank's share of a batch."""
        share, rest = divmod(batch, self.world)
        return self.rank * share + min(self.rank, rest), share + (self.rank < rest)


ALL = Shard()
