"""One's own images: a folder with a folder for each class, with splits or without, or a list of files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import ImageFolderOptions
from .dataset import Facts, FileDataset, Files, SplitName, digest
from .image_spec import ImageSpec
from .images.folders import read_folder
from .images.layout import Layout, settle
from .images.lists import LIST_ENDINGS, read_list

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
_DECODER = 2
"""Counts the ways in which files became pixels: what another one decoded is another data set."""


class ImageFolder(FileDataset):
    """Read once, when it is first asked for anything."""

    options: ImageFolderOptions

    def __init__(self, options: ImageFolderOptions, root: Path) -> None:
        super().__init__(options, root)
        self.path = root / options.path
        self.is_list = self.path.suffix.lower() in LIST_ENDINGS
        self.folder = root / options.images if options.images else self.path.parent if self.is_list else self.path

    @cached_property
    def layout(self) -> Layout:
        """The splits and what is ignored.

        Raises:
            DataError: the folder or list cannot be read, or its splits or classes cannot be determined.
        """
        if self.is_list and self.path.is_file():
            found = read_list(self.path, self.folder, self.options)
        elif self.path.is_dir():
            found = read_folder(self.path)
        else:
            fix = "set data.path to a folder with a folder of images for each class, or to a list in CSV"
            raise DataError(f"{self.path} is not a folder, and not a list of images", fix)
        return settle(found, self.options.test_fraction)

    @property
    def splits(self) -> tuple[SplitName, ...]:
        return tuple(split for split in SPLITS if split in self.layout.splits)

    def facts(self) -> Facts:
        names, pairs = self.layout.classes, self.layout.splits
        spec = ImageSpec(self.options.channels, *self.options.sides, len(names))
        train, validation, test = (len(pairs.get(split, ())) for split in SPLITS)
        return Facts(spec, train, test, tuple(names), validation)

    def notes(self) -> tuple[str, ...]:
        return self.layout.sentences()

    def missing(self) -> tuple[str, ...]:
        return () if self.path.exists() else (self.options.path,)

    def listing(self, split: SplitName) -> Files:
        pairs, places = self.layout.splits[split], {name: place for place, name in enumerate(self.layout.classes)}
        labels = np.array([places[label] for _, label in pairs], np.int64)
        return Files(self.folder, tuple(name for name, _ in pairs), labels)

    def fingerprint(self) -> str:
        return digest(_DECODER, *(item for split in self.splits for item in self._states(split)))

    def _states(self, split: SplitName) -> Iterator[tuple[object, ...]]:
        """Split, path, class, size and time of change of each file."""
        for pair, state in zip(self.layout.splits[split], self.listing(split).states(), strict=True):
            yield split, *pair, *state
