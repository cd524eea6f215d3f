"""CIFAR-10 and CIFAR-100, read from the original python batches in torchvision's layout."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import DataOptions
from .dataset import ArrayDataset, Dataset, Facts, Split, SplitName, checked_bytes, digest, download
from .image_spec import ImageSpec, Progress


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one version, with their MD5 sums."""

    torchvision_name: str
    folder: str
    archive: str
    archive_md5: str
    archive_bytes: int
    files: Mapping[SplitName, Mapping[str, str]]
    meta: tuple[str, str]
    label_key: str
    names_key: str
    classes: int


CIFAR10 = Layout(
    torchvision_name="CIFAR10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    archive_bytes=170_498_071,
    files={
        "train": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    },
    meta=("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
    label_key="labels",
    names_key="label_names",
    classes=10,
)
CIFAR100 = Layout(
    torchvision_name="CIFAR100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    archive_bytes=169_001_437,
    files={
        "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
        "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    },
    meta=("meta", "7973b15100ade9c7d40fb424638fde48"),
    label_key="fine_labels",
    names_key="fine_label_names",
    classes=100,
)
_CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that creates nothing but plain values and arrays."""

    _KNOWN = frozenset(
        {
            *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
            *(("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong to an array")
        return super().find_class(module, name)


class Cifar(ArrayDataset):
    """One version of CIFAR below a data folder."""

    side = 32

    def __init__(self, options: DataOptions, root: Path, layout: Layout) -> None:
        super().__init__(options, root)
        self.layout = layout
        self.folder = root / layout.folder

    def facts(self) -> Facts:
        return Facts(ImageSpec(3, *self.options.sides, self.layout.classes), 50_000, 10_000, self._names())

    def _names(self) -> tuple[str, ...]:
        if self.layout.classes == 10:
            return _CIFAR10_NAMES
        if (self.folder / self.layout.meta[0]).is_file():
            return tuple(self._unpickled(*self.layout.meta)[self.layout.names_key])
        return tuple(f"class {index}" for index in range(self.layout.classes))

    def missing(self) -> tuple[str, ...]:
        names = [name for files in self.layout.files.values() for name in files]
        return tuple(f"{self.layout.folder}/{name}" for name in names if not (self.folder / name).is_file())

    def verify(self) -> Iterator[Progress]:
        for files in self.layout.files.values():
            for name, md5 in files.items():
                yield Progress(f"checking {self.options.name}")
                checked_bytes(self.folder / name, md5, self._hint(self.folder / name))

    def fetch(self) -> Iterator[Progress]:
        layout = self.layout
        archive = self.root / layout.archive
        if not archive.is_file():
            code = f"import torchvision.datasets as d; d.{layout.torchvision_name}(sys.argv[1], download=True)"
            yield from download(self.options.name, code, self.root, self.root, layout.archive, layout.archive_bytes)
            return
        yield Progress(f"unpacking {layout.archive}")
        content = checked_bytes(archive, layout.archive_md5, self._hint(archive))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(self.root, filter="data")

    def read(self, split: SplitName) -> Split:
        batches = [self._unpickled(name, md5) for name, md5 in self.layout.files[split].items()]
        images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([batch[self.layout.label_key] for batch in batches]).astype(np.int64)
        return Split(images, labels)

    def _unpickled(self, name: str, md5: str) -> dict[str, Any]:
        """The content of a batch file; only files with the published checksum are unpickled, and only to arrays."""
        content = checked_bytes(self.folder / name, md5, self._hint(self.folder / name))
        return ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()

    def _hint(self, path: Path) -> str:
        fetch = f"torchdeck data fetch {self.options.name}"
        return f"delete it and run: {fetch} (or put the original {path.name} into {path.parent})"

    def fingerprint(self) -> str:
        return digest(*(md5 for files in self.layout.files.values() for md5 in files.values()))


def cifar10(options: DataOptions, root: Path) -> Dataset:
    """CIFAR-10 below ROOT/cifar-10-batches-py."""
    return Cifar(options, root, CIFAR10)


def cifar100(options: DataOptions, root: Path) -> Dataset:
    """CIFAR-100 below ROOT/cifar-100-python."""
    return Cifar(options, root, CIFAR100)
