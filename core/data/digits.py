"""The data set of handwritten digits that comes with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import ArrayDataset, Facts, Split, SplitName, digest
from .image_spec import ImageSpec

_FILE = Path(__file__).with_name("digits.npz")


class Digits(ArrayDataset):
    """1,797 grey images of 8x8 pixels in 10 classes; every fifth of each class is for testing."""

    def facts(self) -> Facts:
        return Facts(ImageSpec(1, *self.options.sides, 10), 1433, 364, tuple("0123456789"))

    def read(self, split: SplitName) -> Split:
        with np.load(_FILE, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"].astype(np.int64)
        # How many images of its class came before each image.
        rank = np.zeros(len(labels), dtype=np.int64)
        for label in range(10):
            rank[labels == label] = np.arange((labels == label).sum())
        chosen = (rank % 5 == 0) == (split == "test")
        return Split(images[chosen, None], labels[chosen])

    def fingerprint(self) -> str:
        return digest("digits", _FILE.stat().st_size)
