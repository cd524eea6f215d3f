"""A data set made ready to train on: fetched, read, resized, cached, limited, split and measured."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ConfigError, DataError, Fault
from . import NORMALIZATIONS
from .cache import cache_folder, check_caches, is_whole, mapped, write_manifest
from .dataset import ArrayDataset, Bytes, Dataset, Facts, FileDataset, Labels, Split, SplitName
from .image_files import open_image
from .image_spec import ImageSpec, Progress
from .index_plan import derive_seed

SPLITS: tuple[SplitName, ...] = ("train", "test")
CHUNK = 512
MANY = 10_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """The splits of a data set, and what normalises them: mean and deviation per channel, of pixels from 0 to 1."""

    train: Split
    validation: Split | None
    test: Split
    spec: ImageSpec
    class_names: tuple[str, ...]
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def prepare(dataset: Dataset, seed: int, streamed: bool) -> Generator[Progress, None, Prepared]:
    """Make a data set ready, telling the slow steps; streamed or decoded ones go through a memory map on disk.

    Raises:
        DataError: files are missing or damaged, or the cache cannot be written.
        ConfigError: the normalisation does not fit the images.
    """
    options = dataset.options
    if missing := dataset.missing():
        if not options.download:
            hint = f"run: torchdeck data fetch {options.name}, or set data.download=true"
            raise DataError(f"{options.name} is missing {missing[0]} in {dataset.root}", hint)
        yield from dataset.fetch()
    facts = dataset.facts()
    if isinstance(dataset, ArrayDataset) and not streamed and not _resized_once(dataset, facts):
        splits = yield from _read(dataset, facts)
    else:
        splits = yield from _cached(dataset, facts)
    train = _limited(splits["train"], options.train_limit, seed)
    test = _limited(splits["test"], options.test_limit, seed)
    validation = None
    if options.validation == "held-out":
        train, validation = _held_out(train, options.validation_fraction, seed)
    mean, std = _normalization(options.normalization, train, facts.spec)
    return Prepared(train, validation, test, facts.spec, facts.class_names, dataset.fingerprint(), mean, std)


def _resized_once(dataset: ArrayDataset, facts: Facts) -> bool:
    """Whether the images are so many to resize that the result is worth keeping, where it can be."""
    size = dataset.options.size
    many = dataset.side not in (None, size) and facts.train_images >= MANY
    return many and os.access(dataset.root, os.W_OK)


def prepare_test(dataset: Dataset, seed: int) -> Generator[Progress, None, Split]:
    """The test split that `prepare` makes, without the training images; nothing is downloaded and nothing written.

    Raises:
        DataError: files are missing or damaged.
    """
    name, facts = dataset.options.name, dataset.facts()
    if isinstance(dataset, ArrayDataset):
        split = yield from _read_split(dataset, facts, "test")
        return _limited(split, dataset.options.test_limit, seed)
    folder = cache_folder(dataset, facts)
    if is_whole(folder):
        return _limited(mapped(folder, "test"), dataset.options.test_limit, seed)
    assert isinstance(dataset, FileDataset)
    files = dataset.listing("test")
    labels = np.array([label for _, label in files], np.int64)
    images = np.empty(_shape(len(files), facts.spec), np.uint8)
    yield from _decoded(files, images, name)
    return _limited(Split(images, labels), dataset.options.test_limit, seed)


def check(dataset: Dataset) -> Iterator[Progress]:
    """Check every file of a data set, and what was decoded of it.

    Raises:
        DataError: a file is missing or damaged.
    """
    yield from dataset.verify()
    if isinstance(dataset, FileDataset):
        for name in SPLITS:
            files = dataset.listing(name)
            yield from _in_parallel(lambda index, files=files: open_image(files[index][0]), len(files), "checking images")
    yield from check_caches(dataset.root, dataset.options.name)


def _read(dataset: ArrayDataset, facts: Facts) -> Generator[Progress, None, dict[SplitName, Split]]:
    splits: dict[SplitName, Split] = {}
    for name in SPLITS:
        splits[name] = yield from _read_split(dataset, facts, name)
    return splits


def _read_split(dataset: ArrayDataset, facts: Facts, name: SplitName) -> Generator[Progress, None, Split]:
    yield Progress(f"reading {dataset.options.name}")
    split = dataset.read(name)
    if split.images.shape[2:] == (facts.spec.height, facts.spec.width):
        return split
    resized = np.empty(_shape(len(split.labels), facts.spec), np.uint8)
    yield from _resized(split.images, resized, dataset.options.name)
    return Split(resized, split.labels)


def _shape(count: int, spec: ImageSpec) -> tuple[int, int, int, int]:
    return count, spec.channels, spec.height, spec.width


def _resized(images: Bytes, target: Bytes, name: str) -> Iterator[Progress]:
    """Fill `target` with the images at its size."""

    def work(index: int) -> None:
        target[index] = _to_array(_to_picture(images[index]), target.shape[1:])

    yield from _in_parallel(work, len(images), f"resizing {name}")


def _decoded(files: list[tuple[Path, int]], target: Bytes, name: str) -> Iterator[Progress]:
    """Fill `target` with the decoded files at its size."""

    def work(index: int) -> None:
        target[index] = _to_array(open_image(files[index][0]), target.shape[1:])

    yield from _in_parallel(work, len(files), f"decoding {name}")


def _in_parallel(work: Any, count: int, message: str) -> Iterator[Progress]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, CHUNK):
            list(pool.map(work, range(start, min(start + CHUNK, count))))
            yield Progress(message, min(start + CHUNK, count), count)


def _to_picture(image: Bytes) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def _to_array(picture: Image.Image, shape: tuple[int, ...]) -> Bytes:
    """A picture as uint8 [C, H, W], bilinear with antialiasing."""
    picture = picture.convert("L" if shape[0] == 1 else "RGB")
    if picture.size != (shape[2], shape[1]):
        picture = picture.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)


def _cached(dataset: Dataset, facts: Facts) -> Generator[Progress, None, dict[SplitName, Split]]:
    """The splits as memory maps, made once in the data folder's cache."""
    folder = cache_folder(dataset, facts)
    if not is_whole(folder):
        yield from _fill_cache(dataset, facts, folder)
    return {name: mapped(folder, name) for name in SPLITS}


def _fill_cache(dataset: Dataset, facts: Facts, folder: Path) -> Iterator[Progress]:
    staging = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        staging.mkdir(parents=True)
        for name in SPLITS:
            yield from _fill_split(dataset, facts, staging, name)
        write_manifest(staging)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(staging, folder)
    except OSError as error:
        hint = "free space there, or choose another data folder with --data or TORCHDECK_DATA"
        raise DataError(f"the cache {folder} cannot be written ({error.strerror or error})", hint) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fill_split(dataset: Dataset, facts: Facts, folder: Path, name: SplitName) -> Iterator[Progress]:
    if isinstance(dataset, FileDataset):
        files = dataset.listing(name)
        labels = np.array([label for _, label in files], np.int64)
        target = _new_map(folder, name, len(files), facts.spec)
        yield from _decoded(files, target, dataset.options.name)
    else:
        assert isinstance(dataset, ArrayDataset)
        split = dataset.read(name)
        labels = split.labels
        target = _new_map(folder, name, len(labels), facts.spec)
        yield from _resized(split.images, target, dataset.options.name)
    target.flush()
    np.save(folder / f"{name}-labels.npy", labels, allow_pickle=False)


def _new_map(folder: Path, name: SplitName, count: int, spec: ImageSpec) -> Any:
    path = folder / f"{name}-images.npy"
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=_shape(count, spec))


def _limited(split: Split, limit: int, seed: int) -> Split:
    """A seeded subset of `limit` images with each class's share kept; all of them for 0."""
    if not limit or limit >= len(split.labels):
        return split
    return _chosen(split, np.sort(_stratified_order(split.labels, seed, "limit")[:limit]))


def _held_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    order = _stratified_order(split.labels, seed, "validation")
    count = round(len(order) * fraction)
    if not 0 < count < len(order):
        message = f"{fraction} of {len(order)} images leaves one part empty; choose another share"
        raise ConfigError([Fault("data.validation_fraction", message)])
    return _chosen(split, np.sort(order[count:])), _chosen(split, np.sort(order[:count]))


def _chosen(split: Split, indices: Labels) -> Split:
    return Split(split.images[indices], split.labels[indices])


def _stratified_order(labels: Labels, seed: int, purpose: str) -> Labels:
    """Indices so ordered that every beginning holds each class in its share."""
    random = np.random.default_rng(derive_seed(seed, purpose, 0))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        indices = np.flatnonzero(labels == label)
        place[random.permutation(indices)] = (np.arange(len(indices)) + random.random()) / len(indices)
    return np.argsort(place, kind="stable")


def _normalization(name: str, train: Split, spec: ImageSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if name == "none":
        return (0.0,) * spec.channels, (1.0,) * spec.channels
    if name == "computed":
        return channel_statistics(train.images)
    mean, std = NORMALIZATIONS[name]
    if len(mean) != spec.channels:
        message = f"'{name}' is for {len(mean)} channels, the images have {spec.channels}; use computed"
        raise ConfigError([Fault("data.normalization", message)])
    return mean, std


def channel_statistics(images: Bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images [N, C, H, W], as pixels from 0 to 1."""
    counts = np.zeros((images.shape[1], 256))
    for start in range(0, len(images), 4096):
        chunk = images[start : start + 4096]
        counts += [np.bincount(chunk[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])]
    values, total = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / total
    std = np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 1e-12))
    return tuple(mean.tolist()), tuple(std.tolist())
