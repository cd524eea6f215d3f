"""What is kept of a run's best epoch, read again without torch: its predictions, its first filters, its test images."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ..config import parse_config
from ..data import DataOptions, open_dataset
from ..data.dataset import ImageNames, Labels, Split
from ..data.image_spec import Progress
from ..data.prepare import prepare_test
from ..errors import DataError, LogsError
from ..runs.record import RunRecord
from ..utils.files import is_regular
from .class_metrics import Confusion

PREDICTIONS = "predictions.safetensors"
LARGEST = 256 * 2**20
"""Bytes of a file of predictions or filters: those of two million test images with paths of a hundred bytes."""

_NOT_OF_THE_IMAGES = {
    "normalization": "none",
    "crop_padding": 0,
    "crop_fill": "zero",
    "flip": False,
    "jitter": 0.0,
    "cutout": 0,
    "validation": "test",
    "train_limit": 0,
    "source": "auto",
    "download": False,
}
"""Settings that leave the pixels of the test split alone, at the values that cost least."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Of each test image: its class [N], the likeliest classes [N, K] with the likeliest first, their probabilities."""

    epoch: int
    labels: Labels
    classes: Labels
    probabilities: NDArray[np.float32]
    names: ImageNames | None = None
    """Which images they are; None in a file of an earlier version."""

    def name(self, place: int) -> str:
        """What an image is called: its path, or where it is in the data set's test split."""
        if self.names is None:
            return str(place)
        return self.names.paths[place] if self.names.paths else str(self.names.index[place])

    def mistakes(self) -> Labels:
        """The images taken for another class, the surest errors first: a wrong label is often among them."""
        found = np.flatnonzero(self.labels != self.classes[:, 0])
        return found[np.argsort(-np.nan_to_num(self.probabilities[found, 0].astype(np.float64)), kind="stable")]

    def of_cell(self, true: int, predicted: int) -> Labels:
        """The images of class `true` taken for `predicted`: errors the surest first, right answers the least sure."""
        found = np.flatnonzero((self.labels == true) & (self.classes[:, 0] == predicted))
        sureness = np.nan_to_num(self.probabilities[found, 0].astype(np.float64))
        return found[np.argsort(sureness if true == predicted else -sureness, kind="stable")]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where test images come from: two runs with equal sources have the same images."""

    options: DataOptions
    seed: int
    root: Path


def matrix_of(record: RunRecord) -> tuple[Confusion, tuple[str, ...]] | None:
    """The confusion matrix of a record's best epoch with a name for each class; None where there is no usable one."""
    seen, started = record.best_confusion, record.started
    if seen is None or started is None or not seen.confusion:
        return None
    size = len(seen.confusion)
    if any(len(row) != size or not all(_is_count(images) for images in row) for row in seen.confusion):
        return None
    names = tuple(map(str, started.class_names))
    return seen.confusion, names if len(names) == size else tuple(f"class {index}" for index in range(size))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def read_predictions(folder: Path, classes: int) -> Predictions:
    """The predictions of a run of so many classes.

    Raises:
        LogsError: there are none, or they are damaged.
    """
    path = folder / PREDICTIONS
    tensors, about = _tensors(path, ("labels", "classes", "probabilities"), ("index", "paths"))
    labels, likeliest = tensors["labels"].astype(np.int64), tensors["classes"].astype(np.int64)
    probabilities = tensors["probabilities"].astype(np.float32)
    fits = labels.ndim == 1 and likeliest.ndim == 2 and likeliest.shape[1] > 0
    if not fits or len(likeliest) != len(labels) or probabilities.shape != likeliest.shape:
        raise _damaged(path, "its tables do not fit each other")
    for numbers in (labels, likeliest):
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < classes):
            raise _damaged(path, f"it names classes beyond the {classes} of the run")
    epoch = about.get("epoch", "")
    names = _names(path, tensors, len(labels))
    return Predictions(int(epoch) if epoch.isdecimal() else 0, labels, likeliest, probabilities, names)


def _names(path: Path, tensors: Mapping[str, NDArray[Any]], images: int) -> ImageNames | None:
    """Which images a file's predictions are of; None where it does not tell.

    Raises:
        LogsError: it tells of another number of images.
    """
    if "index" not in tensors:
        return None
    index, content = tensors["index"].astype(np.int64), tensors.get("paths")
    texts = () if content is None else tuple(content.tobytes().decode("utf-8", "surrogateescape").split("\0"))
    if index.shape != (images,) or (texts and len(texts) != images):
        raise _damaged(path, "its names are not those of its images")
    return ImageNames(index, texts)


def read_filters(folder: Path) -> NDArray[np.float32] | None:
    """The weights [N, C, K, K] of a run's first convolution; None where no such file is, as in a model without one.

    Raises:
        LogsError: the file is damaged.
    """
    path = folder / "filters.safetensors"
    if not os.path.lexists(path):
        return None
    filters = _tensors(path, ("filters",))[0]["filters"]
    if filters.ndim != 4 or not filters.size:
        raise _damaged(path, "it holds no filters")
    return filters.astype(np.float32)


def _tensors(
    path: Path, names: tuple[str, ...], where_present: tuple[str, ...] = ()
) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """The tensors of a file, and what it says of itself."""
    if not os.path.lexists(path):
        raise LogsError(f"{path.name} is not there", "train the run on, or look at another one")
    try:
        if not is_regular(path) or os.lstat(path).st_size > LARGEST:
            raise ValueError(f"not a regular file of at most {LARGEST >> 20} MiB")
        with safe_open(path, framework="numpy") as file:
            wanted = [*names, *(name for name in where_present if name in file.keys())]  # noqa: SIM118
            found = {name: cast("NDArray[Any]", file.get_tensor(name)) for name in wanted}
            return found, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> LogsError:
    return LogsError(f"{path.name} is damaged ({why})", "it is written anew when the run finds a better epoch")


def source_of(header: Mapping[str, Any], root: Path) -> ImageSource:
    """The test images that a run's header (run.json) speaks of, below the data folder `root`.

    Raises:
        ConfigError: the header holds no config that this version knows.
    """
    stored = header.get("config")
    config = parse_config(cast("Mapping[str, Any]", stored) if isinstance(stored, Mapping) else {})
    options = config.data.model_copy(update=_NOT_OF_THE_IMAGES)
    return ImageSource(options, config.training.seed if options.test_limit else 0, root)


def read_images(source: ImageSource, labels: Labels) -> Generator[Progress, None, Split]:
    """The test images that belong to a run's labels; nothing is downloaded.

    Raises:
        DataError: they are missing or damaged, or are not the images of the run.
    """
    name, dataset = source.options.name, open_dataset(source.options, source.root)
    if dataset.missing():
        raise DataError(f"the images of {name} are not in {source.root}", f"torchdeck data fetch {name}")
    split = yield from prepare_test(dataset, source.seed)
    if not np.array_equal(split.labels, labels):
        raise DataError(f"the {name} in {source.root} is not the data set of this run", "choose its folder with --data")
    return split
