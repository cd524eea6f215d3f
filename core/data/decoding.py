"""Decode image files, or resize images, into one array by several threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ..errors import DataError
from ..utils.cpus import usable_cpus
from .dataset import Bytes, Files, Labels
from .image_spec import Progress
from .images.files import UnreadableError, opened
from .images.layout import listed
from .images.pixels import PixelOptions, decode, fitted

AT_ONCE = 128
"""Images between two reports of progress."""
MAX_NAMED = 50

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that cannot be decoded, and why."""

    path: Path
    why: str


def decoded(
    files: Files, target: Bytes, options: PixelOptions, message: str
) -> Generator[Progress, None, tuple[Labels, list[Unreadable]]]:
    """Fill `target` [N, C, H, W] with the decoded files; the places filled, and the files that cannot be read."""

    def work(place: int) -> Unreadable | None:
        try:
            target[place] = decode(files.path(place), target.shape[1:], options)
        except UnreadableError as error:
            return Unreadable(files.path(place), str(error))
        return None

    found = yield from in_parallel(work, len(files), message)
    good = np.array([place for place, bad in enumerate(found) if bad is None], np.int64)
    return good, [bad for bad in found if bad]


def check_files(files: Files) -> Generator[Progress, None, list[Unreadable]]:
    """Decode every file and keep nothing of it; the files that cannot be decoded."""

    def work(place: int) -> Unreadable | None:
        try:
            with opened(files.path(place)) as picture:
                picture.load()
        except UnreadableError as error:
            return Unreadable(files.path(place), str(error))
        return None

    found = yield from in_parallel(work, len(files), "checking images")
    return [bad for bad in found if bad]


def resized(images: Bytes, target: Bytes, options: PixelOptions, message: str) -> Generator[Progress]:
    """Fill `target` [N, C, H, W] with images [N, C, h, w] at its size."""

    def work(place: int) -> None:
        target[place] = fitted(_picture(images[place]), target.shape[1:], options)

    yield from in_parallel(work, len(images), message)


def in_parallel(work: Callable[[int], Done], count: int, message: str) -> Generator[Progress, None, list[Done]]:
    """What some work comes to for each of `count` places, done by as many threads as there are CPUs to use."""
    done: list[Done] = []
    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, count, AT_ONCE):
            done += pool.map(work, range(start, min(start + AT_ONCE, count)))
            yield Progress(message, len(done), count)
    return done


def unreadable_error(files: Sequence[Unreadable]) -> DataError:
    """What to raise for files that cannot be decoded: all of them are named, as far as a message can be read."""
    names = listed([f"{file.path} ({file.why})" for file in files], MAX_NAMED)
    count = "1 image" if len(files) == 1 else f"{len(files):,} images"
    fix = "replace or delete them, or leave them out with data.on_damage=skip (torchdeck data inspect lists them)"
    return DataError(f"{count} cannot be decoded: {names}", fix)


def _picture(image: Bytes) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
