"""Read the predictions and first filters of a run's best epoch, and the test images for them, without torch."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

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
MAX_FILE_BYTES = 256 * 2**20
"""Bytes of a file of predictions or filters; enough for two million test images with paths of a hundred bytes."""

_IRRELEVANT_SETTINGS = {
    "normalization": "none",
    "crop_padding": 0,
    "crop_fill": "zero",
    "flip": False,
    "jitter": 0.0,
    "color_jitter": 0.0,
    "auto_augment": "none",
    "auto_augment_operations": 2,
    "auto_augment_magnitude": 9,
    "erasing": 0.0,
    "crop_scale": 0.08,
    "crop_ratio": 4 / 3,
    "cutout": 0,
    "validation": "test",
    "train_limit": 0,
    "source": "auto",
    "download": False,
}
"""Settings that do not affect the pixels of the test split, at their cheapest values."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Of each test image: the true class [N], the likeliest classes [N, K], best first, and their probabilities."""

    epoch: int
    labels: Labels
    classes: Labels
    probabilities: NDArray[np.float32]
    names: ImageNames | None = None
    """Which images they are; None in files of earlier versions."""

    def name(self, place: int) -> str:
        """The name of an image: its path, or its index in the data set's test split."""
        if self.names is None:
            return str(place)
        return self.names.paths[place] if self.names.paths else str(self.names.index[place])

    def mistakes(self) -> Labels:
        """The misclassified images, the most confident errors first; wrong labels are often among them."""
        found = np.flatnonzero(self.labels != self.classes[:, 0])
        return found[np.argsort(-np.nan_to_num(self.probabilities[found, 0].astype(np.float64)), kind="stable")]

    def of_cell(self, true: int, predicted: int) -> Labels:
        """The images of class `true` classified as `predicted`: errors the most confident first, hits the least."""
        found = np.flatnonzero((self.labels == true) & (self.classes[:, 0] == predicted))
        sureness = np.nan_to_num(self.probabilities[found, 0].astype(np.float64))
        return found[np.argsort(sureness if true == predicted else -sureness, kind="stable")]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The source of test images; two runs with equal sources have the same images."""

    options: DataOptions
    seed: int
    root: Path


def matrix_of(record: RunRecord) -> tuple[Confusion, tuple[str, ...]] | None:
    """The confusion matrix of a record's best epoch and the class names; None where there is no valid one."""
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
    """Read the predictions of a run with this number of classes.

    Raises:
        LogsError: there are none, or they are damaged.
    """
    path = folder / PREDICTIONS
    tensors, about = _tensors(path, ("labels", "classes", "probabilities"), ("index", "paths"))
    labels, likeliest = tensors["labels"].astype(np.int64), tensors["classes"].astype(np.int64)
    probabilities = tensors["probabilities"].astype(np.float32)
    fits = labels.ndim == 1 and likeliest.ndim == 2 and likeliest.shape[1] > 0
    if not fits or len(likeliest) != len(labels) or probabilities.shape != likeliest.shape:
        raise _damaged(path, "its tensors do not match each other")
    for numbers in (labels, likeliest):
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < classes):
            raise _damaged(path, f"it contains classes beyond the {classes} of the run")
    names = _names(path, tensors, len(labels))
    return Predictions(_epoch(about), labels, likeliest, probabilities, names)


def _names(path: Path, tensors: Mapping[str, NDArray[Any]], images: int) -> ImageNames | None:
    """Which images a file of predictions is about; None where it does not say.

    Raises:
        LogsError: it is about another number of images.
    """
    if "index" not in tensors:
        return None
    index, content = tensors["index"].astype(np.int64), tensors.get("paths")
    texts = () if content is None else tuple(content.tobytes().decode("utf-8", "surrogateescape").split("\0"))
    if index.shape != (images,) or (texts and len(texts) != images):
        raise _damaged(path, "its names are not those of its images")
    return ImageNames(index, texts)


class Filters(NamedTuple):
    """The weights [N, C, K, K] of the first convolution, and their epoch."""

    epoch: int
    weights: NDArray[np.float32]


def read_filters(folder: Path) -> Filters | None:
    """Read the filters of a run's first convolution; None where there is no file.

    Raises:
        LogsError: the file is damaged.
    """
    path = folder / "filters.safetensors"
    if not os.path.lexists(path):
        return None
    tensors, about = _tensors(path, ("filters",))
    filters = tensors["filters"]
    if filters.ndim != 4 or not filters.size:
        raise _damaged(path, "it contains no filters")
    return Filters(_epoch(about), filters.astype(np.float32))


def _epoch(about: Mapping[str, str]) -> int:
    epoch = about.get("epoch", "")
    return int(epoch) if epoch.isdecimal() and len(epoch) < 10 else 0


def _tensors(
    path: Path, names: tuple[str, ...], where_present: tuple[str, ...] = ()
) -> tuple[dict[str, NDArray[Any]], Mapping[str, str]]:
    """The tensors and the metadata of a safetensors file."""
    if not os.path.lexists(path):
        raise LogsError(f"{path.name} is missing", "resume the run, or choose another one")
    try:
        if not is_regular(path) or os.lstat(path).st_size > MAX_FILE_BYTES:
            raise ValueError(f"not a regular file of at most {MAX_FILE_BYTES >> 20} MiB")
        with safe_open(path, framework="numpy") as file:
            wanted = [*names, *(name for name in where_present if name in file.keys())]  # noqa: SIM118
            found = {name: cast("NDArray[Any]", file.get_tensor(name)) for name in wanted}
            return found, file.metadata() or {}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> LogsError:
    return LogsError(f"{path.name} is damaged ({why})", "it is written again when the run has a better epoch")


def source_of(header: Mapping[str, Any], root: Path) -> ImageSource:
    """The source of the test images of a run, from its run.json, below the data folder `root`.

    Raises:
        ConfigError: the header holds no config that this version knows.
    """
    stored = header.get("config")
    config = parse_config(cast("Mapping[str, Any]", stored) if isinstance(stored, Mapping) else {})
    options = config.data.model_copy(update=_IRRELEVANT_SETTINGS)
    return ImageSource(options, config.training.seed if options.test_limit else 0, root)


def read_images(source: ImageSource, labels: Labels) -> Generator[Progress, None, Split]:
    """Read the test images that match a run's labels; nothing is downloaded.

    Raises:
        DataError: they are missing or damaged, or are not the images of the run.
    """
    name, dataset = source.options.name, open_dataset(source.options, source.root)
    if dataset.missing():
        raise DataError(
            f"the images of {name} are not in {source.root}", f"download them with: torchdeck data fetch {name}"
        )
    split = yield from prepare_test(dataset, source.seed)
    if not np.array_equal(split.labels, labels):
        raise DataError(f"the {name} in {source.root} is not the data set of this run", "choose another --data folder")
    return split
