"""The work of the data commands: open, check and fetch a data set, with a progress line."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from PIL import Image

from ... import presets
from ...core.config import parse_data
from ...core.data import DATASETS, DataOptions, open_dataset
from ...core.data.caches import Cache, remove
from ...core.data.dataset import Dataset
from ...core.data.image_folder import ImageFolder
from ...core.data.image_spec import Progress
from ...core.data.prepare import check as check_files
from ...core.errors import InputError
from ...core.utils.files import disk_error_text
from ...core.utils.generators import mapped, run_to_end
from ..charts.half_blocks import Pixels
from ..format.values import safe

Result = TypeVar("Result")


def dataset_rows(data: Path) -> list[dict[str, Any]]:
    """For every data set its name, whether it is on disk, and a description."""
    rows: list[dict[str, Any]] = []
    for name in DATASETS.names():
        options = cast("DataOptions", DATASETS.options(name)(name=name))
        missing = open_dataset(options, data).missing()
        rows.append({"name": name, "here": "no" if missing else "yes", "summary": options.__doc__ or ""})
    return rows


def open_named(name: str, overrides: list[str], data: Path) -> Dataset:
    """Open the data set of a name, with settings overridden by `data.key=value` texts.

    Raises:
        InputError: no data set has that name, or a setting is invalid.
    """
    DATASETS.options(name)
    return open_dataset(parse_data(name, overrides), data)


def open_folder(path: Path, overrides: list[str], data: Path) -> ImageFolder:
    """Open a folder or list of images at any path, with settings overridden by `data.key=value` texts.

    Raises:
        InputError: a setting is invalid.
    """
    options = parse_data("image-folder", overrides).model_copy(update={"path": str(path.absolute())})
    return cast("ImageFolder", open_dataset(options, data))


def open_preset(name: str, overrides: list[str], data: Path) -> tuple[Dataset, int]:
    """The data set of a preset with overrides, and the seed of its run.

    Raises:
        InputError: no preset has that name, or a setting is invalid.
    """
    config = presets.load(name).with_overrides(overrides)
    return open_dataset(config.data, data), config.training.seed


def write_picture(pixels: Pixels, file: Path) -> None:
    """Write pixels [H, W, 3] in the format of the file's ending.

    Raises:
        InputError: it cannot be written, or its ending is no format of pictures.
    """
    try:
        Image.fromarray(pixels).save(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be written ({error})", "give a path such as images.png") from None


def remove_caches(caches: Sequence[Cache]) -> None:
    """Delete caches.

    Raises:
        InputError: one cannot be deleted.
    """
    for cache in caches:
        try:
            remove(cache)
        except OSError as error:
            raise InputError(
                f"{cache.folder} cannot be deleted ({disk_error_text(error)})", "check its permissions"
            ) from None


def check(dataset: Dataset) -> Generator[Progress, None, dict[str, Any]]:
    """Check every file; returns the data set's name, folder, number of images and classes.

    Raises:
        DataError: a file is missing or damaged.
    """
    name = dataset.options.name
    if missing := dataset.missing():
        listed = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise InputError(
            f"{name} is incomplete in {dataset.root}: {listed} missing", f"run: torchdeck data fetch {name}"
        )
    yield from check_files(dataset)
    facts = dataset.facts()
    counts = {"train_images": facts.train_images, "test_images": facts.test_images}
    return {"name": name, "folder": str(dataset.root), **counts, "classes": list(facts.class_names)}


def fetch(dataset: Dataset) -> Generator[Progress, None, dict[str, Any]]:
    """Download what is missing, then check.

    Raises:
        DataError: the download failed, or a file is damaged.
    """
    if dataset.missing():
        try:
            dataset.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "choose another with --data or TORCHDECK_DATA"
            raise InputError(f"the data folder {dataset.root} cannot be created ({error.strerror})", hint) from None
        yield from dataset.fetch()
    return (yield from check(dataset))


def show_progress(work: Generator[Progress, None, Result]) -> Result:
    """Run slow work to its end; progress is shown on stderr if that is a terminal."""
    is_terminal = sys.stderr.isatty()

    def show(step: Progress) -> None:
        if is_terminal:
            share = f" {100 * step.done / step.total:.0f} %" if step.done is not None and step.total else ""
            sys.stderr.write(f"\r\x1b[K{safe(step.message)}{share}")
            sys.stderr.flush()

    try:
        return run_to_end(mapped(work, show))
    finally:
        if is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
