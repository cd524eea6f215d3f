"""MNIST and Fashion-MNIST, read from torchvision's layout."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import DataOptions
from .dataset import ArrayDataset, Dataset, Facts, Split, SplitName, checked_bytes, digest, download
from .image_spec import ImageSpec, Progress

_PREFIX: dict[SplitName, str] = {"train": "train", "test": "t10k"}
_CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_FASHION_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


class Idx(ArrayDataset):
    """A data set of four IDX files, raw or gzipped."""

    side = 28

    def __init__(
        self, options: DataOptions, root: Path, folder: str, classes: tuple[str, ...], md5: Mapping[str, str]
    ) -> None:
        super().__init__(options, root)
        self.folder = root / folder / "raw"
        self.classes = classes
        self.md5 = md5
        self.torchvision_name = folder

    def facts(self) -> Facts:
        return Facts(ImageSpec(1, *self.options.sides, len(self.classes)), 60_000, 10_000, self.classes)

    def missing(self) -> tuple[str, ...]:
        names = [
            f"{prefix}-{kind}" for prefix in _PREFIX.values() for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        return tuple(str((self.folder / name).relative_to(self.root)) for name in names if self._path(name) is None)

    def _path(self, name: str) -> Path | None:
        paths = [self.folder / f"{name}.gz", self.folder / name]
        return next((path for path in paths if path.is_file()), None)

    def verify(self) -> Iterator[Progress]:
        for split in _PREFIX:
            yield Progress(f"checking {self.options.name}")
            self.read(split)

    def fetch(self) -> Iterator[Progress]:
        code = f"import torchvision.datasets as d; d.{self.torchvision_name}(sys.argv[1], download=True)"
        files = "the four *-ubyte.gz files"
        yield from download(self.options.name, code, self.root, self.folder, files, None)

    def read(self, split: SplitName) -> Split:
        images = self._array(f"{_PREFIX[split]}-images-idx3-ubyte", 3)
        labels = self._array(f"{_PREFIX[split]}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise DataError(f"{self.folder} has {len(images)} images but {len(labels)} labels", self._hint())
        return Split(images[:, None], labels.astype(np.int64))

    def _array(self, name: str, dimensions: int) -> np.ndarray:
        """The array of an IDX file: a magic number with the dimensions, their sizes, then the bytes."""
        path = self._path(name)
        if path is None:
            raise DataError(f"{self.folder / name} is missing", self._hint())
        content = checked_bytes(path, self.md5.get(path.name), self._hint(path))
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        shape = np.frombuffer(content[4 : 4 + 4 * dimensions], ">u4").astype(int)
        body = content[4 + 4 * dimensions :]
        if content[:4] != bytes((0, 0, 8, dimensions)) or shape.prod() != len(body):
            raise DataError(f"{path} is damaged: it is not a complete IDX file", self._hint(path))
        return np.frombuffer(body, np.uint8).reshape(shape)

    def _hint(self, path: Path | None = None) -> str:
        remove = f"delete {path} and " if path else ""
        return f"{remove}run: torchdeck data fetch {self.options.name}"

    def fingerprint(self) -> str:
        names = [path.name for path in sorted(self.folder.glob("*-ubyte*"))]
        sums = [self.md5.get(name) or hashlib.md5((self.folder / name).read_bytes()).hexdigest() for name in names]
        return digest(self.options.name, *sums)


def mnist(options: DataOptions, root: Path) -> Dataset:
    """MNIST below ROOT/MNIST/raw."""
    return Idx(options, root, "MNIST", tuple("0123456789"), _MNIST_MD5)


def fashion_mnist(options: DataOptions, root: Path) -> Dataset:
    """Fashion-MNIST below ROOT/FashionMNIST/raw."""
    return Idx(options, root, "FashionMNIST", _CLOTHES, _FASHION_MD5)
