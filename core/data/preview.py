"""Training images as the network sees them: the first of an epoch, augmented, as pixels to be shown."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from .batches import augmentation_of, open_batches
from .dataset import Bytes, Dataset
from .epoch_plan import epoch_plan
from .image_spec import Progress
from .prepare import prepare


@dataclass(frozen=True, slots=True)
class Preview:
    """Augmented images, uint8 [N, C, H, W], and the name of each one's class."""

    images: Bytes
    classes: tuple[str, ...]


def preview(dataset: Dataset, seed: int, count: int, epoch: int = 1) -> Generator[Progress, None, Preview]:
    """The first `count` training images of an epoch of a run with this seed, or all if they are fewer.

    Raises:
        DataError: files are missing or damaged.
        ConfigError: the settings do not fit the images.
    """
    prepared = yield from prepare(dataset, seed, streamed=False)
    data, split = dataset.options, prepared.train
    batches = open_batches(
        split,
        device=torch.device("cpu"),
        streamed=True,
        mean=prepared.mean,
        std=prepared.std,
        augmentation=augmentation_of(data),
    )
    images, labels = next(batches.train(epoch_plan(len(split), seed, epoch, data), min(count, len(split))))
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (prepared.mean, prepared.std))
    pixels = (255 * (images * std + mean)).round().clamp(0, 255).byte().numpy()
    return Preview(pixels, tuple(prepared.class_names[label] for label in labels.tolist()))
