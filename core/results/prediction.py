"""Predict image files with the model of a run, prepared as its training images were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..data.dataset import Bytes
from ..data.images.files import UnreadableError, is_image_name
from ..data.images.pixels import decode, pixel_options
from ..data.prepare import centered
from ..errors import InputError
from ..utils.cpus import usable_cpus
from .trained_model import TrainedModel

AT_ONCE = 64
"""Images in a batch."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """The likeliest classes of one file with their probabilities, best first; `problem` where it cannot be read."""

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    problem: str = ""


def image_files(given: Iterable[str]) -> Iterator[Path]:
    """The files that were named, and the images below the folders that were, by name.

    Raises:
        InputError: a path does not exist, or a folder has no images.
    """
    for name in given:
        path = Path(name)
        if not path.is_dir():
            if not path.exists():
                raise InputError(f"{path} does not exist", "name an image, or a folder of images")
            yield path
            continue
        found = False
        for folder, folders, files in os.walk(path):
            folders.sort()
            for file in sorted(filter(is_image_name, files)):
                found = True
                yield Path(folder) / file
        if not found:
            raise InputError(f"{path} has no images", "name an image, or a folder of images")


def predict_files(trained: TrainedModel, paths: Iterable[Path], top: int) -> Iterator[Predicted]:
    """The `top` likeliest classes of each file, in order; a file that cannot be read has its problem instead."""
    options, spec = pixel_options(trained.config.data), trained.spec
    shape = (spec.channels, *trained.config.data.stored_sides)

    def read(path: Path) -> Bytes | str:
        try:
            return centered(decode(path, shape, options), spec)
        except UnreadableError as error:
            return str(error)

    remaining = iter(paths)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        while batch := list(islice(remaining, AT_ONCE)):
            images = list(pool.map(read, batch))
            good = [image for image in images if not isinstance(image, str)]
            rows = iter(_likeliest(trained, np.stack(good), top) if good else ())
            for path, image in zip(batch, images, strict=True):
                yield Predicted(path, problem=image) if isinstance(image, str) else Predicted(path, next(rows))


def _likeliest(trained: TrainedModel, images: Bytes, top: int) -> Iterator[tuple[tuple[str, float], ...]]:
    found = trained.logits(torch.from_numpy(images)).softmax(1).topk(min(top, len(trained.classes)), dim=1)
    for classes, shares in zip(found.indices.tolist(), found.values.tolist(), strict=True):
        yield tuple((trained.classes[index], share) for index, share in zip(classes, shares, strict=True))
