"""Small image files in folders, for tests of data sets that are read from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image

from torchdeck.core.config import parse_data
from torchdeck.core.data import open_dataset
from torchdeck.core.data.image_folder import ImageFolder

Done = TypeVar("Done")


def write_picture(path: Path, value: int = 100, size: tuple[int, int] = (20, 10), mode: str = "RGB") -> None:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value)).save(path)


def write_noise(path: Path, seed: int, size: tuple[int, int] = (20, 10)) -> None:
    """A picture that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_classes(folder: Path, counts: Mapping[str, int]) -> None:
    """A folder for each class with so many pictures, each of its own."""
    for place, (name, count) in enumerate(counts.items()):
        for number in range(count):
            write_noise(folder / name / f"{number}.png", hash((str(folder), place, number)) % 2**32)


def image_folder(path: Path, **settings: Any) -> ImageFolder:
    """The data set of a folder or list."""
    texts = [f"data.{key}={value}" for key, value in {"path": path, "size": 8, **settings}.items()]
    return cast("ImageFolder", open_dataset(parse_data("image-folder", texts), path.parent))
