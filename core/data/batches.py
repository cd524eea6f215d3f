"""Batches of images on the device, resident or streamed; both give bitwise equal batches."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from . import DataOptions
from .augment import Windows, cut_out, erase, jitter, lay_out, new_canvas, plain
from .color import recolored
from .dataset import Split
from .geometry import sample
from .index_plan import ALL, IndexPlan, Shard
from .statistics import images_of

Pair = tuple[Tensor, Tensor]
Ahead = tuple[Tensor, Tensor, torch.cuda.Event | None]
"""Images and labels on their way to the device, and the CUDA event of their arrival."""
CHUNK_BYTES = 16 * 2**20
"""Pixels that are laid out at once."""
TOGETHER = 128
"""Small batches are made for this many images at once, and then split."""


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A training batch before its images are cut out and augmented.

    Of a resident split `plan.order` are the offsets of its crops; one that is streamed has its `pixels`, uint8
    [B, C, H, W].
    """

    labels: Tensor
    plan: IndexPlan
    pixels: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """All tensors in a fixed order."""
        return [self.labels, *self.plan.tensors().values(), *([] if self.pixels is None else [self.pixels])]

    def clone(self) -> RawBatch:
        """A copy in memory of its own."""
        pixels = None if self.pixels is None else self.pixels.clone()
        return RawBatch(self.labels.clone(), self.plan.changed(torch.clone), pixels)


class Batches(Protocol):
    """A split as batches: normalised images [B, C, H, W] and int64 labels [B], on the device.

    In a run on several devices each rank has its shard of every batch.
    """

    def __len__(self) -> int:
        """The number of images in the split, over all ranks."""
        ...

    def train(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[Pair]:
        """The batches of an epoch in the plan's order, augmented, from `first_batch` on; the last may be short."""
        ...

    def raw(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[RawBatch]:
        """The same batches before their images are made."""
        ...

    def images(self, raw: RawBatch) -> Tensor:
        """The images of a raw batch, made by operations on the device alone."""
        ...

    def evaluate(self, batch_size: int) -> Iterator[Pair]:
        """All images in order, without augmentation; ranks take turns batch by batch."""
        ...


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How the images of a training split are augmented; by default they are not."""

    padding: int = 0
    reflect: bool = False
    mirror: bool = False
    cutout: int = 0
    sampled_to: tuple[int, int] | None = None
    """Height and width of the images after sampling by affine maps; None where they are cut out."""


def augmentation_of(data: DataOptions) -> Augmentation:
    """The augmentation in the options of a data set."""
    reflect = data.crop_fill == "reflect"
    if data.is_sampled:
        return Augmentation(reflect=reflect, cutout=data.cutout, sampled_to=data.sides)
    padding = data.crop_padding if data.crop == "pad" else 0
    return Augmentation(padding, reflect, bool(data.flip), data.cutout)


class Finish:
    """Turns uint8 pixels on the device into the input of a model: normalisation, jitter, cutout, layout."""

    def __init__(
        self,
        device: torch.device,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        shape: tuple[int, int, int],
        channels_last: bool,
        cutout: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # (pixel / 255 - mean) / std in one pass over whole rows of pixels.
        self.channels, self.height, self.width = shape
        self.sides = self.height, self.width
        deviation, centre = torch.tensor(std, dtype=torch.float64), torch.tensor(mean, dtype=torch.float64)
        self.scale = (1 / (255 * deviation)).float().repeat(self.width).to(device)
        self.shift = (-centre / deviation).float().repeat(self.width).to(device)
        self.channels_last = channels_last
        self.cutout = cutout
        self.dtype = dtype

    def __call__(self, rows: Tensor, plan: IndexPlan | None, part: slice) -> Tensor:
        """Rows of pixels, uint8 [B, H, W C], to float32 [B, C, H, W], augmented by the given part of a plan, if any."""
        if plan is not None and plan.operations is not None and plan.strengths is not None:
            images = rows.view(len(rows), self.height, self.width, self.channels)
            rows = recolored(images, plan.operations[part], plan.strengths[part]).flatten(2)
        pixels = rows.float()
        torch.addcmul(self.shift, pixels, self.scale, out=pixels)
        if plan is not None:
            pixels = jitter(pixels, plan, part)
        images = pixels.view(len(rows), self.height, self.width, self.channels)
        if plan is not None:
            images = erase(cut_out(images, plan, part, self.cutout), plan, part)
        images = images.permute(0, 3, 1, 2).to(self.dtype)
        return images if self.channels_last else images.contiguous()


def parts(count: int, size: int) -> Iterator[slice]:
    """The slices that cut `count` images into batches of `size`."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))


def grouped(sizes: Sequence[int], first: int, together: int) -> Iterator[tuple[slice, Sequence[int]]]:
    """Groups of `together` batches of these sizes, from number `first` on: the slice of each group, and its sizes."""
    start = sum(sizes[:first])
    for number in range(first, len(sizes), together):
        group = sizes[number : number + together]
        yield slice(start, start + sum(group)), group
        start += sum(group)


class ResidentBatches:
    """A split that is resident on the device as uint8, laid out for augmentation."""

    def __init__(
        self, split: Split, device: torch.device, finish: Finish, augmentation: Augmentation, shard: Shard
    ) -> None:
        self.augmentation, self.shard = augmentation, shard
        self.canvas = _canvas(split, device, augmentation)
        self.windows = Windows(self.canvas, augmentation.padding)
        self.labels = torch.from_numpy(np.array(split.labels)).to(device)
        self.finish = finish

    def __len__(self) -> int:
        return len(self.labels)

    def train(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[Pair]:
        plan = self.shard.of(plan, batch_size).to(self.labels.device)
        places, labels = self._places(plan), self.labels[plan.order]
        sizes = self.shard.sizes(len(self), batch_size)
        for part, group in grouped(sizes, first_batch, max(1, TOGETHER // batch_size)):
            images = self.finish(self._cut(places[part], plan, part), plan, part)
            yield from zip(images.split(list(group)), labels[part].split(list(group)), strict=True)

    def raw(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[RawBatch]:
        plan = self.shard.of(plan, batch_size).to(self.labels.device)
        cuts = dataclasses.replace(plan, order=self._places(plan), top=None, left=None, flip=None)
        sizes = self.shard.sizes(len(self), batch_size)
        batches = zip(self.labels[plan.order].split(sizes), cuts.split(sizes), strict=True)
        for labels, part in islice(batches, first_batch, None):
            yield RawBatch(labels, part)

    def images(self, raw: RawBatch) -> Tensor:
        return self.finish(self._cut(raw.plan.order, raw.plan, slice(None)), raw.plan, slice(None))

    def evaluate(self, batch_size: int) -> Iterator[Pair]:
        for part in self.shard.blocks(len(self), batch_size):
            yield self.finish(plain(self.canvas, self.finish.sides, part), None, part), self.labels[part]

    def _places(self, plan: IndexPlan) -> Tensor:
        """The offsets [N] of the crops of a plan, or where images are sampled, their indices."""
        return plan.order if plan.maps is not None else self.windows.places(plan.order, plan)

    def _cut(self, places: Tensor, plan: IndexPlan, part: slice) -> Tensor:
        """The crops or sampled images at some places, in a part of a plan: uint8 [B, H, W C]."""
        if plan.maps is None:
            return self.windows.cut(places)
        return sample(self.canvas[0], places, plan.maps[part], self.finish.sides, self.augmentation.reflect).flatten(2)


def _canvas(split: Split, device: torch.device, augmentation: Augmentation) -> Tensor:
    """Lay out the whole split on the device in chunks, so that nothing is in memory twice."""
    count = len(split.labels)
    canvas = new_canvas(count, _shape(split), augmentation.padding, augmentation.mirror, device)
    for part in parts(count, images_of(CHUNK_BYTES, split.images.shape[1:])):
        images = torch.from_numpy(split.take(part)).to(device)
        lay_out(canvas[:, part], images, augmentation.padding, augmentation.reflect)
    return canvas


def _shape(split: Split) -> tuple[int, int, int]:
    _, channels, height, width = split.images.shape
    return channels, height, width


class StreamedBatches:
    """A split in a memory map, read ahead by one thread."""

    def __init__(
        self, split: Split, device: torch.device, finish: Finish, augmentation: Augmentation, shard: Shard
    ) -> None:
        self.split = split
        self.device = device
        self.finish = finish
        self.augmentation, self.shard = augmentation, shard

    def __len__(self) -> int:
        return len(self.split.labels)

    def train(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[Pair]:
        for raw in self.raw(plan, batch_size, first_batch):
            yield self.images(raw), raw.labels

    def raw(self, plan: IndexPlan, batch_size: int, first_batch: int = 0) -> Iterator[RawBatch]:
        plan = self.shard.of(plan, batch_size)
        sizes = self.shard.sizes(len(self), batch_size)
        choices = [plan.order.numpy()[part] for part, _ in grouped(sizes, first_batch, 1)]
        plans = islice(plan.to(self.device).split(sizes), first_batch, None)
        for (images, labels), part in zip(self._read(choices), plans, strict=True):
            yield RawBatch(labels, part, images)

    def images(self, raw: RawBatch) -> Tensor:
        assert raw.pixels is not None
        if raw.plan.maps is not None:
            pixels, maps = raw.pixels.permute(0, 2, 3, 1), raw.plan.maps
            found = sample(pixels, None, maps, self.finish.sides, self.augmentation.reflect)
            return self.finish(found.flatten(2), raw.plan, slice(None))
        windows = Windows(self._canvas(raw.pixels, self.augmentation), self.augmentation.padding)
        places = windows.places(torch.arange(len(raw.pixels), device=self.device), raw.plan)
        return self.finish(windows.cut(places), raw.plan, slice(None))

    def evaluate(self, batch_size: int) -> Iterator[Pair]:
        wanted = self.shard.blocks(len(self), batch_size)
        for part, (images, labels) in zip(wanted, self._read(wanted), strict=True):
            canvas = self._canvas(images, Augmentation())
            yield self.finish(plain(canvas, self.finish.sides, slice(None)), None, part), labels

    def _canvas(self, images: Tensor, augmentation: Augmentation) -> Tensor:
        canvas = new_canvas(len(images), _shape(self.split), augmentation.padding, augmentation.mirror, self.device)
        lay_out(canvas, images, augmentation.padding, augmentation.reflect)
        return canvas

    def _read(self, choices: list[np.ndarray] | list[slice]) -> Iterator[Pair]:
        """The chosen images and labels, copied to the device while the previous ones are being used."""
        ready: queue.Queue[Ahead | BaseException] = queue.Queue(2)
        closed = threading.Event()
        reader = threading.Thread(target=self._fill, args=(choices, ready, closed), daemon=True)
        reader.start()
        try:
            for _ in choices:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield self._taken(item)
        finally:
            closed.set()
            while reader.is_alive():
                _drain(ready)
                reader.join(0.01)

    def _fill(
        self,
        choices: list[np.ndarray] | list[slice],
        ready: queue.Queue[Ahead | BaseException],
        closed: threading.Event,
    ) -> None:
        # A stream of its own, so that copies overlap with the previous steps.
        stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        try:
            for choice in choices:
                if closed.is_set():
                    return
                images = torch.from_numpy(self.split.take(choice))
                labels = torch.from_numpy(np.array(self.split.labels[choice]))
                ready.put(self._sent(images, labels, stream))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that uses the batches
            ready.put(error)

    def _sent(self, images: Tensor, labels: Tensor, stream: torch.cuda.Stream | None) -> Ahead:
        if stream is None:
            return images, labels, None
        with torch.cuda.stream(stream):
            pinned = images.pin_memory(), labels.pin_memory()
            there = [tensor.to(self.device, non_blocking=True) for tensor in pinned]
        arrived = torch.cuda.Event()
        arrived.record(stream)
        return there[0], there[1], arrived

    def _taken(self, item: Ahead) -> Pair:
        images, labels, copied = item
        if copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            images.record_stream(current)
            labels.record_stream(current)
        return images, labels


def _drain(ready: queue.Queue[Ahead | BaseException]) -> None:
    while not ready.empty():
        ready.get_nowait()


def open_batches(
    split: Split,
    *,
    device: torch.device,
    streamed: bool,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels_last: bool = False,
    augmentation: Augmentation | None = None,
    dtype: torch.dtype = torch.float32,
    shard: Shard = ALL,
) -> Batches:
    """The batches of a split; `mean` and `std` are per channel, of pixels from 0 to 1."""
    augmentation = augmentation or Augmentation()
    shape = _shape(split)
    if augmentation.sampled_to:
        shape = (shape[0], *augmentation.sampled_to)
    finish = Finish(device, mean, std, shape, channels_last, augmentation.cutout, dtype)
    return (StreamedBatches if streamed else ResidentBatches)(split, device, finish, augmentation, shard)
