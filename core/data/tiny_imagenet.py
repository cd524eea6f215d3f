"""Tiny ImageNet in its original layout; its labelled validation images are the test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from ..utils.files import open_regular
from .dataset import Facts, FileDataset, Files, SplitName, digest
from .image_spec import ImageSpec

_FOLDER = "tiny-imagenet-200"


class TinyImageNet(FileDataset):
    """All classes that wnids.txt names, in its order."""

    @property
    def folder(self) -> Path:
        """The folder that the original archive unpacks to."""
        return self.root / _FOLDER

    def facts(self) -> Facts:
        ids = self._lines("wnids.txt")
        words = dict(line.split("\t", 1) for line in self._lines("words.txt") if "\t" in line)
        names = tuple(words.get(name, name).split(",")[0] for name in ids)
        spec = ImageSpec(3, *self.options.sides, len(ids))
        return Facts(spec, len(self.listing("train")), len(self.listing("test")), names)

    def missing(self) -> tuple[str, ...]:
        names = ("wnids.txt", "words.txt", "val/val_annotations.txt", "train")
        return tuple(f"{_FOLDER}/{name}" for name in names if not (self.folder / name).exists())

    def _lines(self, name: str) -> list[str]:
        try:
            with open(open_regular(self.folder / name, links=True), encoding="utf-8") as file:
                return file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.folder / name} cannot be read ({error})", self._hint()) from None

    def _hint(self) -> str:
        return f"unpack the original tiny-imagenet-200.zip into {self.root}"

    def listing(self, split: SplitName) -> Files:
        classes = {name: index for index, name in enumerate(self._lines("wnids.txt"))}
        if split == "test":
            rows = [line.split("\t") for line in self._lines("val/val_annotations.txt")]
            if not all(len(row) > 1 and row[1] in classes for row in rows):
                message = f"{self.folder / 'val/val_annotations.txt'} is damaged: a line names no class"
                raise DataError(message, self._hint())
            found = [(f"val/images/{row[0]}", classes[row[1]]) for row in rows]
        else:
            folders = [(f"train/{name}/images", index) for name, index in classes.items()]
            found = [
                (f"{folder}/{path.name}", index)
                for folder, index in folders
                for path in sorted((self.folder / folder).glob("*.JPEG"))
            ]
        return Files(self.folder, tuple(name for name, _ in found), np.array([label for _, label in found], np.int64))

    def fingerprint(self) -> str:
        listings = [self.listing(split) for split in ("train", "test")]
        return digest(
            *(
                (Path(name).name, size)
                for found in listings
                for name, (size, _) in zip(found.names, found.states(), strict=True)
            )
        )
