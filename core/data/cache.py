"""The cache of decoded images: a memory map and the labels of each split, with checksums that detect changes.

Before use, files of up to 256 MiB are checked whole, and of larger ones 64 blocks spread evenly; `check_caches` reads
every byte. A block's CRC-32 notices any damage of up to 32 bits in a row, and all but one in four billion of others.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..utils.files import open_regular, read_json
from . import DataOptions
from .dataset import Dataset, Facts, Split, SplitName, digest
from .image_spec import Progress

SCHEMA = 2
BLOCK = 4 * 2**20
"""Bytes per checksum."""
SAMPLED = 64
"""Blocks of a file that are checked before it is used."""
_OF_PIXELS = ("resize", "background", "value_range", "on_damage")
"""Settings besides the size that affect how the same files are decoded."""


def cache_folder(dataset: Dataset, facts: Facts) -> Path:
    """The folder of the decoded images of a data set at this size."""
    asked = dataset.options.identity()
    pixels = [f"{name}={asked[name]}" for name in _OF_PIXELS if name in asked]
    key = digest("1", dataset.options.name, facts.spec, dataset.fingerprint(), *pixels)[:24]
    return dataset.root / "cache" / f"{dataset.options.name}-{key}"


def mapped(folder: Path, name: SplitName) -> Split:
    """A split of a complete cache, as a memory map."""
    images = np.load(folder / f"{name}-images.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(folder / f"{name}-labels.npy", allow_pickle=False)
    rows = folder / f"{name}-rows.npy"
    return Split(images, labels, np.load(rows, allow_pickle=False) if rows.exists() else None)


@contextmanager
def staging(folder: Path) -> Generator[Path]:
    """A temporary folder beside a cache to make it in; also deletes those that killed processes left.

    Raises:
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(".*.tmp"):
        if is_left_over(left):
            shutil.rmtree(left, ignore_errors=True)
    made, lock = _new_staging(folder)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _new_staging(folder: Path) -> tuple[Path, int | None]:
    """A new folder, locked as long as this process lives; None where locks do not work."""
    while True:
        made = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        made.mkdir()
        try:
            return made, _locked(made)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process took it for one that was left
        except OSError:
            return made, None


def is_left_over(staging: Path) -> bool:
    """Whether the process that made a cache in this folder is gone."""
    try:
        os.close(_locked(staging))
    except OSError:
        return False
    return True


def _locked(folder: Path) -> int:
    """A descriptor that locks a folder.

    Raises:
        BlockingIOError: another process has it locked.
        OSError: locks do not hold there.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def write_manifest(folder: Path, options: DataOptions, left_out: Sequence[str]) -> None:
    """Write the sizes and checksums of all files of a new cache, what it is of, and which images are left out.

    Raises:
        OSError: a file cannot be read, or the manifest not written.
    """
    files = {path.name: {"bytes": path.stat().st_size, "crc32": _checksums(path)} for path in folder.iterdir()}
    content = {"schema": SCHEMA, "options": options.identity(), "files": files, "left_out": [*left_out]}
    (folder / "manifest.json").write_text(json.dumps(content))


def left_out(folder: Path) -> tuple[str, ...]:
    """The files that could not be read when a cache was made."""
    names = _read_manifest(folder).get("left_out")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def is_whole(folder: Path) -> bool:
    """Whether the cache is complete and its files have the right size and, as far as sampled, the right content."""
    files = _manifest(folder)
    return bool(files) and all(_matches(folder / name, entry, SAMPLED) for name, entry in files.items())


def check_caches(root: Path, name: str) -> Iterator[Progress]:
    """Check every byte of the caches of a data set.

    Raises:
        DataError: a file has changed since it was written.
    """
    for folder in sorted((root / "cache").glob(f"{name}-*")):
        yield Progress(f"checking {folder.name}")
        files = _manifest(folder)
        wrong = [item for item, entry in files.items() if not _matches(folder / item, entry, None)]
        if wrong or not files:
            raise DataError(
                f"{folder} is damaged ({', '.join(wrong) or 'its manifest'})", "delete it; it is made again"
            )


def _manifest(folder: Path) -> dict[str, Any]:
    """The files in the manifest; none where it is missing, damaged or in another format."""
    content = _read_manifest(folder)
    files = content.get("files")
    return files if content.get("schema") == SCHEMA and isinstance(files, dict) else {}


def _read_manifest(folder: Path) -> dict[str, Any]:
    content = read_json(folder / "manifest.json")
    return content if isinstance(content, dict) else {}


def _matches(path: Path, entry: Any, most: int | None) -> bool:
    """Whether a file has the size and, in up to `most` evenly spaced blocks, the checksums of the manifest."""
    try:
        wanted, size = list(entry["crc32"]), int(entry["bytes"])
        if path.stat().st_size != size or len(wanted) != -(-size // BLOCK):
            return False
        places = range(len(wanted)) if most is None else _spread(len(wanted), most)
        return all(crc == wanted[place] for place, crc in zip(places, _checksums(path, places), strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` of `count` indices, evenly spaced, including the first and the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))}) if count else []


def _checksums(path: Path, places: Iterable[int] | None = None) -> list[int]:
    """The CRC-32 of the given blocks of a file, or of all blocks."""
    with open(open_regular(path), "rb") as file:
        if places is None:
            return [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK), b"")]
        return [zlib.crc32(file.read(BLOCK)) for place in places if file.seek(place * BLOCK) >= 0]
