"""The caches of decoded images in a data folder: their data sets and sizes, and which of them no data set uses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import TorchdeckError
from ..utils.files import is_folder, is_regular, read_json, remove_tree
from . import DATASETS, DataOptions, open_dataset
from .cache import cache_folder, is_left_over

_CACHE = re.compile(r"[a-z0-9-]+-[0-9a-f]{24}")
_UNFINISHED = re.compile(rf"\.{_CACHE.pattern}\.[0-9a-f]{{8}}\.tmp")


@dataclass(frozen=True, slots=True)
class Cache:
    """The decoded images of a data set at one size; `unused` says why no data set uses them, or is ""."""

    folder: Path
    bytes: int
    options: DataOptions | None
    """The settings that it was made for; None where they are not known."""
    unused: str = ""


def list_caches(root: Path) -> list[Cache]:
    """The caches of a data folder, interrupted ones included."""
    found = sorted((root / "cache").glob("*")) if (root / "cache").is_dir() else []
    return [cache for folder in found if is_folder(folder) for cache in _cache(folder, root)]


def remove(cache: Cache) -> None:
    """Delete a cache; a run that reads it continues, because it has the files open.

    Raises:
        OSError: it cannot be deleted.
    """
    remove_tree(cache.folder)


def _cache(folder: Path, root: Path) -> Iterator[Cache]:
    if _UNFINISHED.fullmatch(folder.name):
        if is_left_over(folder):
            yield Cache(folder, _bytes(folder), None, "decoding was interrupted")
    elif _CACHE.fullmatch(folder.name):
        options = _options(read_json(folder / "manifest.json"))
        yield Cache(folder, _bytes(folder), options, _unused(folder, options, root))


def _options(manifest: Any) -> DataOptions | None:
    """The settings that a cache was made for."""
    try:
        stored = manifest["options"]
        return cast("DataOptions", DATASETS.options(str(stored["name"])).model_validate_json(json.dumps(stored)))
    except (ValueError, TypeError, KeyError, TorchdeckError):
        return None


def _unused(folder: Path, options: DataOptions | None, root: Path) -> str:
    if options is None:
        return "of an earlier version, or damaged"
    try:
        dataset = open_dataset(options, root)
        if dataset.missing():
            return "the files are gone"
        return "" if cache_folder(dataset, dataset.stored_facts()) == folder else "the files have changed"
    except (TorchdeckError, OSError):
        return ""  # files that cannot be read now are not gone


def _bytes(folder: Path) -> int:
    sizes = 0
    for path in folder.iterdir():
        with suppress(OSError):
            sizes += path.stat().st_size if is_regular(path) else 0
    return sizes
