"""Synthetic images: a noisy pattern per class, generated from a seed."""

from __future__ import annotations

import json

import numpy as np

from . import SyntheticOptions
from .dataset import ArrayDataset, Facts, Split, SplitName, digest
from .image_spec import ImageSpec


class Synthetic(ArrayDataset):
    """Each class is a fixed random pattern, each image that pattern mixed with noise."""

    options: SyntheticOptions

    def facts(self) -> Facts:
        options = self.options
        names = tuple(f"pattern {index}" for index in range(options.classes))
        spec = ImageSpec(options.channels, *options.sides, options.classes)
        return Facts(spec, options.train_images, options.test_images, names)

    def read(self, split: SplitName) -> Split:
        options = self.options
        shape = (options.channels, *options.sides)
        patterns = np.random.default_rng(0).random((options.classes, *shape), dtype=np.float32)
        count = options.train_images if split == "train" else options.test_images
        random = np.random.default_rng(1 if split == "train" else 2)
        labels = np.arange(count, dtype=np.int64) % options.classes
        noise = random.random((count, *shape), dtype=np.float32)
        mixed = (1 - options.noise) * patterns[labels] + options.noise * noise
        return Split((mixed * 255).astype(np.uint8), labels)

    def fingerprint(self) -> str:
        return digest(json.dumps(self.options.identity(), separators=(",", ":")))
