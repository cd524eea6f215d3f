"""Batches on the device, from images that live there or are streamed to it; both give the same bits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.data.augment import crop, flip, normalize
from core.data.dataset import Split
from core.data.index_plan import IndexPlan

Pair = tuple[Tensor, Tensor]


class Batches(Protocol):
    """A split as batches: normalised float32 images [B, C, H, W] and int64 labels [B], on the device."""

    def __len__(self) -> int: ...

    def train(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[Pair]:
        """The batches of an epoch in the plan's order, augmented, from `first_batch` on; the last may be short."""
        ...

    def evaluate(self, batch_size: int) -> Iterator[Pair]:
        """All images in their own order, as they are."""
        ...


class Finish:
    """What turns a uint8 batch on the device into a model's input."""

    def __init__(
        self,
        device: torch.device,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        crop_padding: int,
        channels_last: bool,
    ) -> None:
        # (pixel / 255 - mean) / std as one multiplication and one addition.
        deviation, centre = torch.tensor(std, dtype=torch.float64), torch.tensor(mean, dtype=torch.float64)
        self.scale = (1 / (255 * deviation)).float().view(1, -1, 1, 1).to(device)
        self.shift = (-centre / deviation).float().view(1, -1, 1, 1).to(device)
        self.padding = crop_padding
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: Tensor, plan: IndexPlan | None, part: slice) -> Tensor:
        """Augment by the plan's part, if any, and normalise."""
        if plan is not None:
            if plan.top is not None and plan.left is not None:
                images = crop(images, plan.top[part], plan.left[part], self.padding)
            if plan.flip is not None:
                images = flip(images, plan.flip[part])
        return normalize(images, self.scale, self.shift, self.memory_format)


def parts(count: int, size: int, first: int = 0) -> Iterator[slice]:
    """The slices that cut `count` images into batches of `size`, from batch `first` on."""
    for start in range(first * size, count, size):
        yield slice(start, min(start + size, count))


def on_device(plan: IndexPlan, device: torch.device) -> IndexPlan:
    """The plan's tensors copied to the device, once an epoch."""
    top, left, mirrored = (
        tensor.to(device) if tensor is not None else None for tensor in (plan.top, plan.left, plan.flip)
    )
    return IndexPlan(plan.order.to(device), top, left, mirrored)


class ResidentBatches:
    """A split that lives on the device as uint8."""

    def __init__(self, split: Split, device: torch.device, finish: Finish) -> None:
        self.images = torch.from_numpy(np.array(split.images)).to(device)
        self.labels = torch.from_numpy(np.array(split.labels)).to(device)
        self.finish = finish

    def __len__(self) -> int:
        return len(self.labels)

    def train(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[Pair]:
        plan = on_device(plan, self.labels.device)
        for part in parts(len(self), batch_size, first_batch):
            chosen = plan.order[part]
            yield self.finish(self.images[chosen], plan, part), self.labels[chosen]

    def evaluate(self, batch_size: int) -> Iterator[Pair]:
        for part in parts(len(self), batch_size):
            yield self.finish(self.images[part], None, part), self.labels[part]


class StreamedBatches:
    """A split in a memory map, read ahead by one thread."""

    def __init__(self, split: Split, device: torch.device, finish: Finish) -> None:
        self.split = split
        self.device = device
        self.finish = finish

    def __len__(self) -> int:
        return len(self.split.labels)

    def train(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[Pair]:
        order, there = plan.order.numpy(), on_device(plan, self.device)
        wanted = list(parts(len(self), batch_size, first_batch))
        for part, (images, labels) in zip(wanted, self._read([order[part] for part in wanted]), strict=True):
            yield self.finish(images, there, part), labels

    def evaluate(self, batch_size: int) -> Iterator[Pair]:
        wanted = list(parts(len(self), batch_size))
        for part, (images, labels) in zip(wanted, self._read(wanted), strict=True):
            yield self.finish(images, None, part), labels

    def _read(self, choices: list[np.ndarray] | list[slice]) -> Iterator[Pair]:
        """The chosen images and labels, moved to the device while the ones before are worked on."""
        ready: queue.Queue[Pair | BaseException] = queue.Queue(2)
        closed = threading.Event()
        reader = threading.Thread(target=self._fill, args=(choices, ready, closed), daemon=True)
        reader.start()
        try:
            for _ in choices:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item[0].to(self.device, non_blocking=True), item[1].to(self.device, non_blocking=True)
        finally:
            closed.set()
            while reader.is_alive():
                _drain(ready)
                reader.join(0.01)

    def _fill(
        self,
        choices: list[np.ndarray] | list[slice],
        ready: queue.Queue[Pair | BaseException],
        closed: threading.Event,
    ) -> None:
        try:
            for choice in choices:
                if closed.is_set():
                    return
                images = torch.from_numpy(np.array(self.split.images[choice]))
                labels = torch.from_numpy(np.array(self.split.labels[choice]))
                ready.put(
                    (images.pin_memory(), labels.pin_memory()) if self.device.type == "cuda" else (images, labels)
                )
        except Exception as error:  # noqa: BLE001 - raised again where the batches are used
            ready.put(error)


def _drain(ready: queue.Queue[Pair | BaseException]) -> None:
    while not ready.empty():
        ready.get_nowait()


def open_batches(
    split: Split,
    *,
    device: torch.device,
    streamed: bool,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    crop_padding: int = 0,
    channels_last: bool = False,
) -> Batches:
    """The batches of a split; `mean` and `std` are per channel, of pixels from 0 to 1."""
    finish = Finish(device, mean, std, crop_padding, channels_last)
    return (StreamedBatches if streamed else ResidentBatches)(split, device, finish)
