"""Evaluate the model of a run on images of any data set with its classes, and record the figures beside the run."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..config import parse_config, to_plain, with_overrides
from ..data import DataOptions, open_dataset
from ..data.dataset import Dataset, Files, Split
from ..data.decoding import decoded, unreadable_error
from ..data.image_folder import ImageFolder
from ..data.image_spec import Progress
from ..data.images.pixels import pixel_options
from ..data.prepare import centered, prepare_test
from ..errors import ConfigError, DataError, Fault, LogsError
from ..session.best_epoch_files import predictions_file
from ..training.inference import Predictions
from ..utils.files import disk_error_text, make_folders, to_json_bytes, write_atomically
from .trained_model import TrainedModel, header_of_run

AT_ONCE = 100
"""Images in a batch."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of a model on some images: rows of the confusion matrix are true classes."""

    run_id: str
    epoch: int | None
    data: dict[str, Any]
    fingerprint: str
    images: int
    loss: float
    accuracy: float
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """The evaluation in JSON's types."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def evaluate(
    trained: TrainedModel, folder: Path, overrides: Iterable[str], root: Path
) -> Generator[Progress, None, Evaluation]:
    """Evaluate on the test images of the run's data set with `data.key=value` overrides; nothing is downloaded.

    All images count where a folder of images has no test split, unless the run was trained on some of them. The
    figures are recorded in a new folder of `evaluations/` of the run.

    Raises:
        ConfigError: the overrides are not valid, or the images have other channels.
        DataError: images are missing or damaged, or of a class that the run does not know.
        LogsError: the figures cannot be written.
    """
    options = _options(trained, overrides)
    dataset = open_dataset(options, root)
    if missing := dataset.missing():
        raise DataError(
            f"{missing[0]} is not in {root}", "name the folder with data.path, or its data folder with --data"
        )
    facts = dataset.facts()
    if facts.spec.channels != trained.spec.channels:
        message = f"the images have {facts.spec.channels} channels, those of the run {trained.spec.channels}"
        raise ConfigError([Fault("data.channels", message)])
    split = yield from _images(dataset, header_of_run(folder)["data"].get("sha256"), trained)
    labels = _labels(split.labels, facts.class_names, trained.classes)
    confusion, parts, loss = np.zeros((len(trained.classes),) * 2, np.int64), list[Predictions](), 0.0
    for start in range(0, len(split), AT_ONCE):
        truth = torch.from_numpy(labels[start : start + AT_ONCE])
        logits = trained.logits(torch.from_numpy(split.take(slice(start, start + AT_ONCE))))
        loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
        shares, likeliest = logits.softmax(1).topk(min(3, logits.shape[1]), dim=1)
        np.add.at(confusion, (truth.numpy(), likeliest[:, 0].numpy()), 1)
        parts.append(Predictions(likeliest, shares, truth))
        yield Progress("evaluating", min(start + AT_ONCE, len(split)), len(split))
    found = Evaluation(
        run_id=trained.run_id,
        epoch=trained.epoch,
        data=to_plain(trained.config.model_copy(update={"data": options}))["data"],
        fingerprint=dataset.fingerprint(),
        images=len(split),
        loss=loss / len(split),
        accuracy=int(confusion.trace()) / len(split),
        classes=trained.classes,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )
    whole = Predictions(
        *(torch.cat([getattr(part, name) for part in parts]) for name in Predictions.__dataclass_fields__)
    )
    _record(folder, found, predictions_file(whole, split.names, trained.epoch or 0))
    return found


def _options(trained: TrainedModel, overrides: Iterable[str]) -> DataOptions:
    """The data settings, with images of the size that the model takes."""
    given = list(overrides)
    if other := [text for text in given if not text.startswith("data.")]:
        raise ConfigError(
            [Fault("", f"'{other[0]}' is no setting of the data; change those of the form data.key=value")]
        )
    options = parse_config(with_overrides(to_plain(trained.config), given)).data
    set_here = {text.partition("=")[0].strip() for text in given}
    kept = {name: getattr(trained.config.data, name) for name in ("size", "resize", "crop", "cache_side", "rotation")}
    if given:
        kept["test_limit"] = 0  # that of the run is for its own images
    return options.model_copy(update={key: value for key, value in kept.items() if f"data.{key}" not in set_here})


def _images(dataset: Dataset, trained_on: str | None, trained: TrainedModel) -> Generator[Progress, None, Split]:
    """The test images; of a folder without a test split all images, unless it is the one that was trained on."""
    undivided = isinstance(dataset, ImageFolder) and dataset.layout.folders["test"] == dataset.layout.folders["train"]
    if not (isinstance(dataset, ImageFolder) and undivided) or dataset.fingerprint() == trained_on:
        return (yield from prepare_test(dataset, trained.config.training.seed))
    train, test = dataset.listing("train"), dataset.listing("test")
    files = Files(train.folder, train.names + test.names, np.concatenate([train.labels, test.labels]))
    spec = trained.spec
    images = np.empty((len(files), spec.channels, *dataset.options.stored_sides), np.uint8)
    good, bad = yield from decoded(files, images, pixel_options(dataset.options), "decoding images")
    if bad and dataset.options.on_damage == "stop":
        raise unreadable_error(bad)
    return Split(centered(images, spec), files.labels, paths=files.names).chosen(good)


def _labels(labels: Any, own: tuple[str, ...], known: tuple[str, ...]) -> Any:
    """The classes [N] by the run's numbers, given those of the data set: classes are the same where their names are."""
    places = {name: place for place, name in enumerate(known)}
    if unknown := [name for name in own if name not in places]:
        raise DataError(
            f"the run knows no class '{unknown[0]}'" + (f" and {len(unknown) - 1} more" if unknown[1:] else ""),
            f"its classes are: {', '.join(known[:20])}",
        )
    return np.array([places[name] for name in own], np.int64)[labels]


def _record(folder: Path, found: Evaluation, predictions: bytes) -> None:
    when = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%d-%H%M%S-%f")
    place = folder / "evaluations" / when
    try:
        make_folders(place)
        write_atomically(place / "predictions.safetensors", predictions)
        write_atomically(place / "evaluation.json", to_json_bytes(found.to_json()))
    except OSError as error:
        raise LogsError(f"{place} cannot be written ({disk_error_text(error)})", "check its permissions") from None
