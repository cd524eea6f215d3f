"""The base classes of data sets, and the helpers that their readers share: splits, downloads, checksums."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..utils.files import open_regular
from . import DataOptions, FileOptions
from .image_spec import ImageSpec, Progress

SplitName = Literal["train", "validation", "test"]
Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a data set before it is read; counts are those of complete splits."""

    spec: ImageSpec
    train_images: int
    test_images: int
    class_names: tuple[str, ...]
    validation_images: int = 0
    """Images of the data set's own validation split; 0 without one."""


@dataclass(frozen=True, slots=True)
class ImageNames:
    """The images of a split: indices in the data set's own split, int64 [N], and their paths, if they are files."""

    index: Labels
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """Images as uint8 [M, C, H, W], possibly a read-only memory map, and the classes of those in the split, int64 [N].

    `rows` [N] are the indices of the images in the split, in order; None where it has all of them.
    """

    images: Bytes
    labels: Labels
    rows: Labels | None = None
    paths: tuple[str, ...] = ()
    """The paths of all M images, where they are files and the paths are needed."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: slice | NDArray[np.integer]) -> Bytes:
        """A copy of the images at the given indices of the split: uint8 [B, C, H, W]."""
        return np.array(self.images[places if self.rows is None else self.rows[places]])

    def chosen(self, places: Labels) -> Split:
        """The part of the split at the given indices; no image is copied."""
        rows = places if self.rows is None else self.rows[places]
        return Split(self.images, self.labels[places], rows, self.paths)

    @property
    def names(self) -> ImageNames:
        """The indices and paths of the images in the split."""
        index = np.arange(len(self)) if self.rows is None else self.rows
        return ImageNames(index, tuple(self.paths[place] for place in index) if self.paths else ())


@dataclass(frozen=True, slots=True)
class Files:
    """Image files: their names from a folder, with /, and their classes as int64 [N]."""

    folder: Path
    names: tuple[str, ...]
    labels: Labels

    def __len__(self) -> int:
        return len(self.names)

    def path(self, place: int) -> Path:
        """The path of a file."""
        return self.folder / self.names[place]

    def states(self) -> Iterator[tuple[int, int]]:
        """Size and modification time of each file; zeros for a missing one."""
        for place in range(len(self)):
            try:
                found = os.stat(self.path(place))
            except OSError:
                yield 0, 0
            else:
                yield found.st_size, found.st_mtime_ns


class Dataset(ABC):
    """A data set below a data folder: either its images come as arrays, or as files that must be decoded."""

    def __init__(self, options: DataOptions, root: Path) -> None:
        self.options = options
        self.root = root

    @abstractmethod
    def facts(self) -> Facts:
        """Shapes, counts and class names; raises DataError where they are only known from missing files."""

    def stored_facts(self) -> Facts:
        """The same, of the images as they are stored, which may be larger than what the network sees."""
        facts, (height, width) = self.facts(), self.options.stored_sides
        return replace(facts, spec=replace(facts.spec, height=height, width=width))

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that the data set has."""
        return ("train", "test")

    def notes(self) -> tuple[str, ...]:
        """What a person should know before training on it, as sentences."""
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256, as hex, of what identifies the content."""

    def missing(self) -> tuple[str, ...]:
        """The files that are absent, from the data folder."""
        return ()

    def verify(self) -> Iterator[Progress]:
        """Check every file; raises DataError that names the file and the fix."""
        yield from ()

    def fetch(self) -> Iterator[Progress]:
        """Download what is missing; raises DataError where that cannot be done."""
        name = self.options.name
        files = ", ".join(self.missing()) or "its files"
        raise DataError(f"{name} cannot be downloaded", f"put {files} into {self.root}")
        yield


class ArrayDataset(Dataset):
    """A data set whose images come as arrays."""

    side: int | None = None
    """Of the square images as they come, in pixels; None where they are made at the size asked for."""

    @abstractmethod
    def read(self, split: SplitName) -> Split:
        """The images of a split at their own size; raises DataError for a damaged file."""


class FileDataset(Dataset):
    """A data set whose images are files that must be decoded."""

    options: FileOptions

    @abstractmethod
    def listing(self, split: SplitName) -> Files:
        """The image files of a split."""


def digest(*parts: Any) -> str:
    """SHA-256 of the texts of some values, as hex."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def checked_bytes(path: Path, md5: str | None, hint: str) -> bytes:
    """The content of a file whose MD5 must be this.

    Raises:
        DataError: it is absent, unreadable or different.
    """
    try:
        with open(open_regular(path, links=True), "rb") as file:
            content = file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", hint) from None
    if md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{path} is damaged: its checksum is wrong ({len(content):,} bytes)", hint)
    return content


def download(name: str, code: str, root: Path, folder: Path, files: str, total: int | None) -> Iterator[Progress]:
    """Run a download, such as torchvision's own, in a child process, and report the bytes downloaded.

    Raises:
        DataError: it failed; the message says which files to put where.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    command = [sys.executable, "-P", "-c", f"import sys; {code}", str(root)]
    lock = yield from _download_lock(name, folder)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield Progress(f"downloading {name}", _bytes_below(folder), total)
        while _running(child):
            yield Progress(f"downloading {name}", _bytes_below(folder), total)
    finally:
        child.kill()
        _, errors = child.communicate()
        if lock is not None:
            os.close(lock)
    if child.returncode:
        _remove_empty(made)
        last = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise DataError(f"{name} could not be downloaded ({last[0][:200]})", f"put {files} into {folder}")


def _download_lock(name: str, folder: Path) -> Generator[Progress, None, int | None]:
    """Lock the folder, so that two runs do not download the same files at once; None where that is not possible.

    A run that waited finds the files complete, and downloads nothing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Progress(f"waiting for another download of {name}", None, None)
            time.sleep(0.25)
        except OSError:
            os.close(lock)
            return None
        else:
            return lock


def _remove_empty(folders: list[Path]) -> None:
    """Delete the folders that a failed download made, unless they contain something."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _running(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(0.25)
    except subprocess.TimeoutExpired:
        return True
    return False


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
