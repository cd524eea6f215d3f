"""Read a folder of images as people lay it out: a folder for each class, alone or below train/, val/ and test/."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from ..dataset import SplitName
from .files import is_image_name
from .layout import SPLIT_NAMES, Ignored, Layout, Pairs, listed

_SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir"}
_MAX_LEVELS = 32


def read_folder(root: Path) -> Layout:
    """The images below a folder, with what is none of them.

    Raises:
        DataError: the folder cannot be read, or its splits or classes cannot be determined.
    """
    reader = _Reader(root)
    folders = reader.folders("")
    splits = _splits(root, folders)
    if "train" not in splits:
        _check_without_train(root, splits)
        found = Layout({"train": reader.classes("", folders)}, {"train": "."}, reader.ignored)
    else:
        for name in folders:
            if name.lower() not in SPLIT_NAMES:
                reader.ignore(name, "not train, validation or test")
        found = Layout({}, splits, reader.ignored)
        for split, name in splits.items():
            found.splits[split] = reader.classes(name, reader.folders(name))
    _check_classes(root, found, folders)
    return found


def _splits(root: Path, folders: list[str]) -> dict[SplitName, str]:
    """The folders of the splits.

    Raises:
        DataError: two folders are the same split.
    """
    splits: dict[SplitName, str] = {}
    for name in folders:
        split = SPLIT_NAMES.get(name.lower())
        if split in splits:
            raise DataError(
                f"{root} has two {split} folders: {splits[split]} and {name}", "rename or delete one of them"
            )
        if split:
            splits[split] = name
    return splits


def _check_without_train(root: Path, splits: dict[SplitName, str]) -> None:
    if splits:
        names = listed([f"{name}/" for name in splits.values()])
        raise DataError(
            f"{root} has {names} but no train/",
            "put the folders of classes into train/, or rename the folder if it is a class",
        )


def _check_classes(root: Path, found: Layout, folders: list[str]) -> None:
    classes = found.classes
    if len(classes) > 1:
        return
    top = root if found.folders["train"] == "." else root / found.folders["train"]
    inner = next((root / name for name in folders if len(_subfolders(root / name)) > 1), None)
    lists = sorted(path.name for path in root.glob("*.[ct]sv"))
    if found.folders["train"] == "." and len(folders) == 1 and inner:
        fix = f"set data.path={inner}"
    elif lists:
        fix = f"put the images of each class into its own folder, or set data.path={root / lists[0]} for its list"
    else:
        fix = "put the images of each class into its own folder"
    raise DataError(f"{top} has {len(classes)} class folders with images", fix)


def _subfolders(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except OSError:
        return []


class _Reader:
    """Walks below one folder and collects what is ignored; names are from that folder, with /."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ignored: list[Ignored] = []

    def folders(self, below: str) -> list[str]:
        """The folders in a folder, by name; files beside them are in no class, and ignored."""
        entries = list(self._entries(below))
        for entry in entries:
            if not entry.is_dir():
                self.ignored.append(Ignored(_join(below, entry.name), "not in the folder of a class"))
        return [entry.name for entry in entries if entry.is_dir()]

    def classes(self, top: str, names: list[str]) -> Pairs:
        """The images of the folders `names` in the folder `top`, each the folder of a class."""
        pairs: Pairs = []
        for name in names:
            below = _join(top, name)
            images = sorted(self._images(below, 0), key=lambda found: found.split("/"))
            pairs += [(image, name) for image in images]
            if not images:
                self.ignored.append(Ignored(below, "a folder without images", 0))
        return pairs

    def ignore(self, name: str, why: str) -> None:
        """Leave out a folder or file."""
        self.ignored.append(Ignored(name, why, _count(self.root / name)))

    def _images(self, below: str, level: int) -> Iterator[str]:
        for entry in self._entries(below):
            name = _join(below, entry.name)
            if entry.is_dir():
                # Folders may be links, and a link may lead to a folder above it.
                if level < _MAX_LEVELS and not _leads_up(entry):
                    yield from self._images(name, level + 1)
                else:
                    self.ignored.append(Ignored(name, "a link to a folder above it"))
            elif not is_image_name(entry.name):
                self.ignored.append(Ignored(name, "not an image by its ending"))
            elif entry.is_file() or not os.path.exists(entry.path):
                # A link that leads nowhere is an image that cannot be read.
                yield name
            else:
                self.ignored.append(Ignored(name, "not a regular file"))

    def _entries(self, below: str) -> Iterator[os.DirEntry[str]]:
        """What is in a folder, by name, less hidden files and those of operating systems.

        Raises:
            DataError: the folder cannot be read.
        """
        try:
            with os.scandir(self.root / below) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{self.root / below} cannot be read ({error.strerror})", "check its permissions") from None
        for entry in found:
            if entry.name.startswith("."):
                self.ignore(_join(below, entry.name), "hidden")
            elif entry.name.lower() in _SYSTEM_NAMES:
                self.ignore(_join(below, entry.name), "made by the operating system")
            else:
                yield entry


def _join(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name


def _leads_up(entry: os.DirEntry[str]) -> bool:
    """Whether a folder is a link to one that it is in."""
    if not entry.is_symlink():
        return False
    target, here = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))
    return f"{here}/".startswith(f"{target}/")


def _count(path: Path) -> int:
    """How many files a folder holds; 1 for a file."""
    if not path.is_dir():
        return 1
    return sum(len(files) for _, _, files in os.walk(path))
