"""Any folder of images: train/ and test/ (or val/) with a folder a class, or just a folder a class."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from . import ImageFolderOptions
from .dataset import Facts, FileDataset, SplitName, digest
from .image_files import FORMATS, is_image_file
from .image_spec import ImageSpec


class ImageFolder(FileDataset):
    """Without a test folder, every fifth image of each class is for testing."""

    options: ImageFolderOptions

    def __init__(self, options: ImageFolderOptions, root: Path) -> None:
        super().__init__(options, root)
        self.folder = root / options.path

    def facts(self) -> Facts:
        names = self._classes()
        size = self.options.size
        spec = ImageSpec(self.options.channels, size, size, len(names))
        return Facts(spec, len(self.listing("train")), len(self.listing("test")), tuple(names))

    def missing(self) -> tuple[str, ...]:
        return () if self.folder.is_dir() else (self.options.path,)

    def _split_folder(self, split: SplitName) -> Path | None:
        names = ("train",) if split == "train" else ("test", "val")
        return next((self.folder / name for name in names if (self.folder / name).is_dir()), None)

    def _classes(self) -> list[str]:
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder} is not a folder", "set data.path to a folder with a folder of images a class"
            )
        top = self._split_folder("train") or self.folder
        names = sorted(path.name for path in top.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(names) < 2:
            raise DataError(f"{top} has {len(names)} class folders", "put the images of each class into its own folder")
        return names

    def listing(self, split: SplitName) -> list[tuple[Path, int]]:
        apart = self._split_folder("train") is not None and self._split_folder("test") is not None
        top = (self._split_folder(split) if apart else self._split_folder("train")) or self.folder
        found: list[tuple[Path, int]] = []
        for index, name in enumerate(self._classes()):
            paths = sorted(path for path in (top / name).rglob("*") if is_image_file(path))
            wanted = [path for rank, path in enumerate(paths) if apart or (rank % 5 == 0) == (split == "test")]
            found += [(path, index) for path in wanted]
        if not found:
            raise DataError(f"{top} has no images for the {split} split", f"use files ending in {', '.join(FORMATS)}")
        return found

    def fingerprint(self) -> str:
        files = [path for split in ("train", "test") for path, _ in self.listing(split)]
        return digest(
            *((path.relative_to(self.folder), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
        )
