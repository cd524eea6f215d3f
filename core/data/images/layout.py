"""What the images of a folder or a list are: splits, classes, and what is neither, with the reason."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..dataset import SplitName

SPLIT_NAMES: Mapping[str, SplitName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What people call the splits, in lower case."""
SHOWN = 5
"""Names that a sentence lists before it only counts the rest."""

Pairs = list[tuple[str, str]]
"""Image files and their classes, both as names."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file or folder that is no image of a class, why not, and how many files it stands for."""

    path: str
    why: str
    files: int = 1


@dataclass(slots=True)
class Layout:
    """The splits of a data set of image files, by the names of files and classes."""

    splits: dict[SplitName, Pairs]
    folders: dict[SplitName, str]
    """Where the images of each split come from, as a person calls it."""
    ignored: list[Ignored] = field(default_factory=list[Ignored])
    notes: list[str] = field(default_factory=list[str])

    @property
    def classes(self) -> list[str]:
        """The classes of the training split, by name."""
        return sorted({label for _, label in self.splits["train"]})

    def sentences(self) -> tuple[str, ...]:
        """The notes, and what is ignored: a sentence for each reason."""
        reasons = Counter[str]()
        for item in self.ignored:
            reasons[item.why] += item.files
        named = {why: [item.path for item in self.ignored if item.why == why] for why in reasons}
        return (
            *self.notes,
            *(f"ignored: {listed(named[why])} ({why}{_files(count)})" for why, count in reasons.items()),
        )


def _files(count: int) -> str:
    return f", {count:,} files" if count > 1 else ""


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """Names with commas between them, those beyond `most` counted."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def settle(layout: Layout, test_fraction: float) -> Layout:
    """Make a layout as found fit to train on: no class that training lacks, and a test split where there is none.

    A validation split without a test split becomes the test split.
    """
    classes = set(layout.classes)
    for split in ("validation", "test"):
        if split in layout.splits:
            _drop_unknown_classes(layout, split, classes)
    if "test" not in layout.splits and "validation" in layout.splits:
        layout.splits["test"] = layout.splits.pop("validation")
        layout.folders["test"] = layout.folders.pop("validation")
    if "test" not in layout.splits:
        _divide(layout, test_fraction)
    without = sorted(classes - {label for _, label in layout.splits["test"]})
    if without:
        layout.notes.append(f"no test images: {listed(without)} (trained on, but without figures of their own)")
    return layout


def _drop_unknown_classes(layout: Layout, split: SplitName, classes: set[str]) -> None:
    unknown = Counter(label for _, label in layout.splits[split] if label not in classes)
    folder = layout.folders[split]
    layout.ignored += [
        Ignored(f"{folder}/{label}", "a class without training images", count)
        for label, count in sorted(unknown.items())
    ]
    layout.splits[split] = [pair for pair in layout.splits[split] if pair[1] in classes]
    if not layout.splits[split]:
        layout.notes.append(f"{folder} is not used: it has no images of the classes that are trained on")
        del layout.splits[split], layout.folders[split]


def _divide(layout: Layout, fraction: float) -> None:
    """Move the images whose path hashes below `fraction` to the test split, of each class at least the lowest.

    So hardly an image changes sides when files are added or removed. A class keeps at least one image for training.
    """
    pairs, helped = layout.splits["train"], list[str]()
    by_class: dict[str, list[str]] = {}
    for name, label in pairs:
        by_class.setdefault(label, []).append(name)
    test: set[str] = set()
    for label, names in by_class.items():
        *rest, _ = sorted(names, key=path_hash)
        drawn = [name for name in rest if path_hash(name) < fraction]
        if rest and not drawn:
            helped.append(label)
        test.update(drawn or rest[:1])
    layout.splits["train"] = [pair for pair in pairs if pair[0] not in test]
    layout.splits["test"] = [pair for pair in pairs if pair[0] in test]
    layout.folders["test"] = layout.folders["train"]
    if helped:
        chosen = f"data.test_fraction={fraction:g} takes no image of {listed(helped)}"
        layout.notes.append(f"{chosen}: the one whose path has the lowest hash is the test image")


def path_hash(name: str) -> float:
    """A number from 0 to 1 that depends on a path alone."""
    content = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return int.from_bytes(content) / 2**64
