"""Inspect a data set of image files before training: every file is decoded once, and what it is, is counted."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL.ExifTags import Base

from ..utils.files import disk_error_text, open_regular
from .dataset import Files, SplitName
from .decoding import in_parallel
from .image_folder import ImageFolder
from .image_spec import Progress
from .images.files import UnreadableError, opened
from .images.pixels import pixel_options, to_pixels
from .statistics import histogram, moments

SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
"""Sides that are suggested: the largest that half of the images have without being enlarged."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file of a split and what it turned out to be; `fault` says why it cannot be read."""

    split: SplitName
    name: str
    label: int
    fault: str = ""
    content: bytes = b""
    """A hash of its bytes."""
    size: tuple[int, int] = (0, 0)
    """Width and height, upright."""
    format: str = ""
    mode: str = ""
    values: tuple[float, float] | None = None
    """The least and the largest, of more than 8 bits."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A data set of image files, each of its files looked at."""

    dataset: ImageFolder
    files: list[ImageFile]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of the training images at `data.size`, from 0 to 1; empty where none can be read."""

    @property
    def readable(self) -> list[ImageFile]:
        """The files that can be read."""
        return [file for file in self.files if not file.fault]

    def classes(self, split: SplitName) -> dict[str, int]:
        """How many images of a split each class has, those that cannot be read among them."""
        counts = Counter(file.label for file in self.files if file.split == split)
        return {name: counts[label] for label, name in enumerate(self.dataset.layout.classes)}

    @property
    def imbalance(self) -> float:
        """Training images of the largest class for each of the smallest."""
        counts = self.classes("train").values()
        return max(counts) / min(counts)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Width and height of the image with the fewest pixels, of the one in the middle, and of that with the most."""
        found = sorted((file.size for file in self.readable), key=lambda size: (size[0] * size[1], size))
        places = {"smallest": 0, "median": len(found) // 2, "largest": -1}
        return {name: found[place] for name, place in places.items()} if found else {}

    @property
    def suggested_size(self) -> int:
        """A `data.size` for these images: half of them are at least as large, and none is larger than 224."""
        shorter = sorted(min(file.size) for file in self.readable)
        median = shorter[len(shorter) // 2] if shorter else 0
        return max((size for size in SIZES if size <= median), default=SIZES[0])

    @property
    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """Of the modes with more than 8 bits: the least and the largest value."""
        found: dict[str, list[float]] = defaultdict(list)
        for file in self.readable:
            found[file.mode] += file.values or ()
        return {mode: (min(values), max(values)) for mode, values in found.items() if values}

    @property
    def duplicates(self) -> list[list[str]]:
        """Files of the same content that are in more than one split."""
        alike: dict[bytes, list[ImageFile]] = defaultdict(list)
        for file in self.readable:
            alike[file.content].append(file)
        return [[file.name for file in group] for group in alike.values() if len({file.split for file in group}) > 1]

    @property
    def cache_bytes(self) -> int:
        """What the decoded images will take on disk at `data.size`."""
        height, width = self.dataset.options.sides
        return len(self.files) * self.dataset.options.channels * height * width

    def count(self, key: str) -> dict[str, int]:
        """How many files have each `format` or `mode`, the most frequent first."""
        return dict(Counter(getattr(file, key) for file in self.readable).most_common())

    def to_json(self) -> dict[str, Any]:
        """What `torchdeck data inspect --json` prints."""
        layout = self.dataset.layout
        splits: dict[str, Any] = {}
        for split in self.dataset.splits:
            classes = self.classes(split)
            splits[split] = {"folder": layout.folders[split], "images": sum(classes.values()), "classes": classes}
        return {
            "path": str(self.dataset.path),
            "splits": splits,
            "imbalance": self.imbalance,
            "ignored": [{"path": item.path, "why": item.why, "files": item.files} for item in layout.ignored],
            "unreadable": [{"path": file.name, "why": file.fault} for file in self.files if file.fault],
            "duplicates_across_splits": self.duplicates,
            "sizes": {name: list(size) for name, size in self.sizes.items()},
            "formats": self.count("format"),
            "modes": self.count("mode"),
            "value_ranges": {mode: list(ends) for mode, ends in self.value_ranges.items()},
            "size": self.dataset.options.size,
            "suggested_size": self.suggested_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "cache_bytes": self.cache_bytes,
            "notes": [*layout.notes],
        }


def inspect(dataset: ImageFolder) -> Generator[Progress, None, Inspection]:
    """Read and decode every file of a data set.

    Raises:
        DataError: the folder or list cannot be read, or its splits or classes cannot be determined.
    """
    channels = dataset.options.channels
    counts, lock = np.zeros((channels, 256), np.int64), threading.Lock()
    listings: dict[SplitName, Files] = {split: dataset.listing(split) for split in dataset.splits}
    places: list[tuple[SplitName, int]] = [
        (split, place) for split, files in listings.items() for place in range(len(files))
    ]
    options, shape = pixel_options(dataset.options), (channels, *dataset.options.sides)

    def look(number: int) -> ImageFile:
        split, place = places[number]
        files = listings[split]
        about = split, files.names[place], int(files.labels[place])
        try:
            with open(open_regular(files.path(place), links=True), "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            with opened(files.path(place)) as picture:
                kind = picture.format or "", picture.mode
                values = _values(np.asarray(picture)) if picture.mode[0] in "IF" else None
                wide, high = picture.size
                turned = picture.getexif().get(Base.Orientation, 1) > 4
                pixels = to_pixels(picture, shape, options)
        except UnreadableError as error:
            return ImageFile(*about, fault=str(error))
        except OSError as error:
            return ImageFile(*about, fault=disk_error_text(error))
        if split == "train":
            with lock:
                counts[:] += histogram(pixels[None])
        return ImageFile(*about, "", content, (high, wide) if turned else (wide, high), *kind, values)

    files = yield from in_parallel(look, len(places), "inspecting images")
    mean, std = moments(counts) if counts.any() else ((), ())
    return Inspection(dataset, files, mean, std)


def _values(pixels: np.ndarray) -> tuple[float, float] | None:
    return (float(np.nanmin(pixels)), float(np.nanmax(pixels))) if pixels.size else None
