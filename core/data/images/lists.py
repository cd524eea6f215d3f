"""Read a list of image files as CSV: columns for the file, its class and, where there is one, its split."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from ...errors import DataError, nearest
from .. import ImageFolderOptions
from ..dataset import SplitName
from .files import FORMATS, is_image_name
from .layout import SPLIT_NAMES, Ignored, Layout, Pairs, listed

LIST_ENDINGS = (".csv", ".tsv")
_DELIMITERS = ",;\t"


def read_list(path: Path, folder: Path, options: ImageFolderOptions) -> Layout:
    """The images of a list; their names are from `folder`.

    Raises:
        DataError: the list cannot be read, lacks a column, or names classes or splits that cannot be.
    """
    rows, columns = _rows(path)
    for column, setting in ((options.path_column, "path_column"), (options.label_column, "label_column")):
        if column not in columns:
            near = nearest(column, columns)
            raise DataError(f"{path} has no column '{column}'; {near}", f"set data.{setting} to a column of its header")
    splits: dict[SplitName, Pairs] = {}
    seen: dict[str, str] = {}
    repeated = Counter[str]()
    for number, row in rows:
        name = _with_ending(row[options.path_column] or "", folder)
        label = (row[options.label_column] or "").strip()
        if not name or not label:
            raise DataError(f"line {number} of {path} has no path or no label", "complete or delete the line")
        if name in seen:
            if seen[name] != label:
                message = f"{path} gives {name} two labels, {seen[name]} and {label} (line {number})"
                raise DataError(message, "delete one of the lines: an image has one class")
            repeated[name] += 1
            continue
        seen[name] = label
        splits.setdefault(_split(row.get(options.split_column) or "", number, path), []).append((name, label))
    return _layout(path, splits, repeated)


def _layout(path: Path, splits: dict[SplitName, Pairs], repeated: Counter[str]) -> Layout:
    if "train" not in splits:
        raise DataError(f"{path} has no training images", "give its lines a path, a label and, if any, the split train")
    found = Layout(splits, dict.fromkeys(splits, path.name))
    found.ignored += [Ignored(name, "listed again", count) for name, count in repeated.items()]
    if len(found.classes) < 2:
        raise DataError(f"{path} has {len(found.classes)} class: {listed(found.classes)}", "list images of two or more")
    return found


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str | None]]], list[str]]:
    """The rows of a list with their line numbers, and its columns."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            rows = [(reader.line_num, row) for row in reader]
            return rows, [*(reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error})", "save it as CSV in UTF-8, with a header") from None


def _with_ending(name: str, folder: Path) -> str:
    """The name of a file; one without an ending gets that of the image that is there."""
    name = name.strip().replace("\\", "/")
    if not name or is_image_name(name) or (folder / name).is_file():
        return name
    return next((name + ending for ending in FORMATS if (folder / (name + ending)).is_file()), name)


def _split(text: str, number: int, path: Path) -> SplitName:
    word = text.strip().lower() or "train"
    if word not in SPLIT_NAMES:
        raise DataError(f"line {number} of {path} has the split '{text.strip()}'", "use train, val or test")
    return SPLIT_NAMES[word]
