"""Mean and standard deviation of the pixels of many images, a few of them in memory at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dataset import Bytes, Split

CHUNK_BYTES = 4 * 2**20
"""Pixels looked at together; counting takes eight times as much."""

Moments = tuple[tuple[float, ...], tuple[float, ...]]


def channel_statistics(split: Split) -> Moments:
    """Mean and standard deviation per channel of a split, of pixels from 0 to 1."""
    channels = split.images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    size = images_of(CHUNK_BYTES, split.images.shape[1:])
    for start in range(0, len(split), size):
        counts += histogram(split.take(slice(start, start + size)))
    return moments(counts)


def images_of(memory: int, shape: tuple[int, ...]) -> int:
    """How many images of uint8 `shape` take so many bytes, at least one."""
    return max(1, memory // max(1, int(np.prod(shape))))


def histogram(images: Bytes) -> NDArray[np.int64]:
    """How often each value is in each channel of images [N, C, H, W]: [C, 256]."""
    return np.stack([np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])])


def moments(counts: NDArray[np.int64]) -> Moments:
    """Mean and standard deviation per channel of values counted [C, 256], as pixels from 0 to 1."""
    values, total = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / total
    std = np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 1e-12))
    return tuple(mean.tolist()), tuple(std.tolist())
