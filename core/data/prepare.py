"""Prepare a data set for training: download, read, resize, cache, limit, split, and compute its normalisation."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, Fault
from ..utils.files import disk_error_text
from . import NORMALIZATIONS, DataOptions
from .cache import cache_folder, check_caches, is_whole, left_out, mapped, staging, write_manifest
from .dataset import ArrayDataset, Bytes, Dataset, Facts, FileDataset, Labels, Split, SplitName
from .decoding import Unreadable, check_files, decoded, resized, unreadable_error
from .image_spec import ImageSpec, Progress
from .images.array_file import ArrayFile
from .images.layout import listed
from .images.pixels import pixel_options
from .index_plan import derive_seed
from .statistics import channel_statistics

MANY = 10_000
MIB = 2**20
_ROOM = "free space there, or choose another data folder with --data or TORCHDECK_DATA"
Splits = dict[SplitName, Split]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The splits of a data set, and their normalisation: mean and deviation per channel, of pixels from 0 to 1."""

    train: Split
    validation: Split | None
    test: Split
    spec: ImageSpec
    class_names: tuple[str, ...]
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    left_out: tuple[str, ...] = ()
    """The names of image files that cannot be read."""
    notes: tuple[str, ...] = ()
    """Notes for the user before training, as sentences."""


def prepare(dataset: Dataset, seed: int, streamed: bool) -> Generator[Progress, None, Prepared]:
    """Prepare a data set, reporting progress; streamed or decoded ones go through a memory map on disk.

    Raises:
        DataError: files are missing or damaged, or the cache cannot be written.
        ConfigError: the normalisation does not fit the images, or a part of a split would be empty.
    """
    options = dataset.options
    if missing := dataset.missing():
        if not options.download:
            hint = f"run: torchdeck data fetch {options.name}, or set data.download=true"
            raise DataError(f"{options.name} is missing {missing[0]} in {dataset.root}", hint)
        yield from dataset.fetch()
    facts, stored, bad = dataset.facts(), dataset.stored_facts(), tuple[str, ...]()
    if isinstance(dataset, ArrayDataset) and not streamed and not _resized_once(dataset, facts):
        splits = yield from _read(dataset, stored)
    else:
        splits, bad = yield from _cached(dataset, stored)
    if options.takes_parts:
        splits = {name: _centred(split, facts.spec, options, name) for name, split in splits.items()}
    train = _limited(splits["train"], options.train_limit, seed)
    test = _limited(_with_paths(dataset, splits["test"]), options.test_limit, seed)
    validation = _limited(splits["validation"], options.test_limit, seed) if "validation" in splits else None
    if options.validation == "held-out":
        train, validation = _held_out(train, options.validation_fraction, seed)
    mean, std = _normalization(options.normalization, train, facts.spec)
    notes = (*dataset.notes(), *([f"left out, since they cannot be read: {listed(bad)}"] if bad else ()))
    found = facts.spec, facts.class_names, dataset.fingerprint()
    return Prepared(train, validation, test, *found, mean, std, bad, notes)


def _resized_once(dataset: ArrayDataset, facts: Facts) -> bool:
    """Whether so many images must be resized that the result should be cached, and can be."""
    side = dataset.side
    many = side is not None and (side, side) != dataset.options.stored_sides and facts.train_images >= MANY
    return many and os.access(dataset.root, os.W_OK)


def prepare_test(dataset: Dataset, seed: int) -> Generator[Progress, None, Split]:
    """Prepare only the test split, as `prepare` does; nothing is downloaded and nothing is written.

    Raises:
        DataError: files are missing or damaged.
    """
    facts = dataset.stored_facts()
    if isinstance(dataset, ArrayDataset):
        split = yield from _read_split(dataset, facts, "test")
    elif is_whole(folder := cache_folder(dataset, facts)):
        split = mapped(folder, "test")
    else:
        assert isinstance(dataset, FileDataset)
        images = np.empty(_shape(facts.test_images, facts.spec), np.uint8)
        split, bad = yield from _decoded(dataset, "test", images)
        _check_damage(dataset, bad)
    if dataset.options.takes_parts:
        split = _centred(split, dataset.facts().spec, dataset.options, "test")
    return _limited(split, dataset.options.test_limit, seed)


def _with_paths(dataset: Dataset, split: Split) -> Split:
    """The test split with the paths of its images, where they are files."""
    return replace(split, paths=dataset.listing("test").names) if isinstance(dataset, FileDataset) else split


def check(dataset: Dataset) -> Iterator[Progress]:
    """Check every file of a data set, and its caches.

    Raises:
        DataError: a file is missing or damaged; all image files that cannot be decoded are named.
    """
    yield from dataset.verify()
    if isinstance(dataset, FileDataset):
        bad: list[Unreadable] = []
        for name in dataset.splits:
            bad += yield from check_files(dataset.listing(name))
        if bad:
            raise unreadable_error(bad)
    yield from check_caches(dataset.root, dataset.options.name)


def _read(dataset: ArrayDataset, facts: Facts) -> Generator[Progress, None, Splits]:
    splits: Splits = {}
    for name in dataset.splits:
        splits[name] = yield from _read_split(dataset, facts, name)
    return splits


def _read_split(dataset: ArrayDataset, facts: Facts, name: SplitName) -> Generator[Progress, None, Split]:
    yield Progress(f"reading {dataset.options.name}")
    split = dataset.read(name)
    if split.images.shape[2:] == (facts.spec.height, facts.spec.width):
        return split
    images = np.empty(_shape(len(split), facts.spec), np.uint8)
    yield from resized(split.images, images, pixel_options(dataset.options), f"resizing {dataset.options.name}")
    return Split(images, split.labels)


def _centred(split: Split, spec: ImageSpec, options: DataOptions, name: SplitName) -> Split:
    """The centres of the stored images, as the network sees them, without a copy; all of those to be sampled."""
    if name == "train" and options.is_sampled:
        return split
    return replace(split, images=centered(split.images, spec))


def centered(images: Bytes, spec: ImageSpec) -> Bytes:
    """The centres [..., H, W] of stored images [..., h, w], as the network sees them, without a copy."""
    top, left = (images.shape[-2] - spec.height) // 2, (images.shape[-1] - spec.width) // 2
    return images[..., top : top + spec.height, left : left + spec.width]


def _shape(count: int, spec: ImageSpec) -> tuple[int, int, int, int]:
    return count, spec.channels, spec.height, spec.width


def _decoded(
    dataset: FileDataset, name: SplitName, images: Any
) -> Generator[Progress, None, tuple[Split, list[Unreadable]]]:
    """A split decoded into `images`, without the files that cannot be read, which are reported."""
    files, options = dataset.listing(name), pixel_options(dataset.options)
    good, bad = yield from decoded(files, images, options, f"decoding {dataset.options.name}")
    return Split(images, files.labels).chosen(good) if bad else Split(images, files.labels), bad


def _check_damage(dataset: FileDataset, bad: list[Unreadable]) -> None:
    if bad and dataset.options.on_damage == "stop":
        raise unreadable_error(bad)


def _cached(dataset: Dataset, facts: Facts) -> Generator[Progress, None, tuple[Splits, tuple[str, ...]]]:
    """The splits as memory maps of the cache in the data folder, and the files that are left out of them."""
    folder = cache_folder(dataset, facts)
    if not is_whole(folder):
        yield from _fill_cache(dataset, facts, folder)
    return {name: mapped(folder, name) for name in dataset.splits}, left_out(folder)


def _fill_cache(dataset: Dataset, facts: Facts, folder: Path) -> Iterator[Progress]:
    try:
        with staging(folder) as made:
            _check_room(dataset, facts, made)
            bad: list[Unreadable] = []
            for name in dataset.splits:
                bad += yield from _fill_split(dataset, facts, made, name)
            if isinstance(dataset, FileDataset):
                _check_damage(dataset, bad)
            write_manifest(made, dataset.options, [str(file.path) for file in bad])
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(made, folder)
    except OSError as error:
        raise DataError(f"the cache {folder} cannot be written ({disk_error_text(error)})", _ROOM) from None


def _check_room(dataset: Dataset, facts: Facts, place: Path) -> None:
    """Check before hours of decoding that there is room on the disk for the result."""
    needed, free = _bytes(dataset, facts), shutil.disk_usage(place).free
    if needed > free:
        message = f"the decoded images of {dataset.options.name} take {needed / MIB:,.0f} MiB"
        raise DataError(f"{message}, and {place.parent} has {free / MIB:,.0f} MiB free", _ROOM)


def disk_needed(dataset: Dataset, streamed: bool) -> int:
    """Bytes of decoded images that `prepare` will write into the data folder; 0 where they are there or not needed.

    Raises:
        DataError: it is only known from missing files.
    """
    facts = dataset.stored_facts()
    if isinstance(dataset, ArrayDataset) and not streamed and not _resized_once(dataset, facts):
        return 0
    there = not dataset.missing() and (cache_folder(dataset, facts) / "manifest.json").exists()
    return 0 if there else _bytes(dataset, facts)


def _bytes(dataset: Dataset, facts: Facts) -> int:
    """Bytes of all images of a data set, decoded, with their labels."""
    images = sum(_counts(facts)[name] for name in dataset.splits)
    return images * (math.prod(_shape(1, facts.spec)) + 8)


def _counts(facts: Facts) -> dict[SplitName, int]:
    return {"train": facts.train_images, "validation": facts.validation_images, "test": facts.test_images}


def _fill_split(
    dataset: Dataset, facts: Facts, folder: Path, name: SplitName
) -> Generator[Progress, None, list[Unreadable]]:
    """Write a split's files into a cache; the image files that could not be read."""
    bad: list[Unreadable] = []
    if isinstance(dataset, FileDataset):
        with _array_file(folder, name, _counts(facts)[name], facts.spec) as target:
            split, bad = yield from _decoded(dataset, name, target)
        if not len(split):
            raise unreadable_error(bad)
    else:
        assert isinstance(dataset, ArrayDataset)
        split = dataset.read(name)
        with _array_file(folder, name, len(split), facts.spec) as target:
            message = f"resizing {dataset.options.name}"
            yield from resized(split.images, target, pixel_options(dataset.options), message)
    np.save(folder / f"{name}-labels.npy", split.labels, allow_pickle=False)
    if split.rows is not None:
        np.save(folder / f"{name}-rows.npy", split.rows, allow_pickle=False)
    return bad


def _array_file(folder: Path, name: SplitName, count: int, spec: ImageSpec) -> AbstractContextManager[Any]:
    return ArrayFile(folder / f"{name}-images.npy", _shape(count, spec))


def _limited(split: Split, limit: int, seed: int) -> Split:
    """A seeded subset of `limit` images in which the classes keep their shares; all images for 0."""
    if not limit or limit >= len(split):
        return split
    return split.chosen(np.sort(_stratified_order(split.labels, seed, "limit")[:limit]))


def _held_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    order = _stratified_order(split.labels, seed, "validation")
    count = round(len(order) * fraction)
    if not 0 < count < len(order):
        message = f"{fraction} of {len(order)} images leaves one part empty; choose another share"
        raise ConfigError([Fault("data.validation_fraction", message)])
    return split.chosen(np.sort(order[count:])), split.chosen(np.sort(order[:count]))


def _stratified_order(labels: Labels, seed: int, purpose: str) -> Labels:
    """Indices in an order of which every prefix contains the classes in their shares."""
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
        return channel_statistics(train)
    mean, std = NORMALIZATIONS[name]
    if name in ("imagenet", "symmetric") and spec.channels != len(mean):
        # Pretrained filters, summed over the colours for grey images, expect the mean of the three.
        mean, std = ((sum(values) / len(values),) * spec.channels for values in (mean, std))
    if len(mean) != spec.channels:
        message = f"'{name}' is for {len(mean)} channels, the images have {spec.channels}; use computed"
        raise ConfigError([Fault("data.normalization", message)])
    return mean, std
