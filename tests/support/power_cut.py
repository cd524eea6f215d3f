"""What may be on a disk after a power cut: what was not synced may be gone, whole or in part, data and names apart.

A disk that records every operation gives a trace. The model replays it up to the cut and then chooses, of each file,
how much of its unsynced data is there, and of each folder, which of its unsynced names.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fault_disk import FaultDisk

Change = tuple[tuple[str, "int | None"], ...]
"""Names of a folder that change together: what each stands for afterwards."""


class TraceDisk(FaultDisk):
    """Never fails; keeps what was done as functions that do the same to a model."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.trace: list[Callable[[Model], None]] = []
        self._paths: dict[int, Path] = {}

    @property
    def done(self) -> int:
        return len(self.trace)

    def _keep(self, step: Callable[[Model], None]) -> None:
        self.trace.append(step)

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        new = not path.exists()
        descriptor = super().open(path, flags, mode)
        self._paths[descriptor] = path
        if new:
            self._keep(lambda model: model.create(path, folder=False))
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        taken, path = super().write(descriptor, content), self._paths[descriptor]
        written = bytes(content[:taken])
        self._keep(lambda model: model.append(path, written))
        return taken

    def sync(self, descriptor: int) -> None:
        path = self._paths[descriptor]
        self._keep(lambda model: model.sync(path))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._keep(lambda model: model.rename(source, target))
        for descriptor, path in self._paths.items():
            if path == source:
                self._paths[descriptor] = target

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._keep(lambda model: model.create(path, folder=True))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._keep(lambda model: model.remove(path))

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self._keep(lambda model: model.remove(path))


@dataclass(slots=True)
class Node:
    """A file's bytes or a folder's names, as all see them and as they would survive."""

    folder: bool
    data: bytes = b""
    synced: bytes = b""
    names: dict[str, int] = field(default_factory=dict[str, int])
    synced_names: dict[str, int] = field(default_factory=dict[str, int])
    changes: list[Change] = field(default_factory=list[Change])


class Model:
    """A disk below one folder, which is there for good."""

    def __init__(self, root: Path, *, syncs: bool = True) -> None:
        self.root, self.syncs = root, syncs
        self.nodes = [Node(folder=True)]

    def _node(self, path: Path) -> Node:
        number = 0
        for name in path.relative_to(self.root).parts:
            number = self.nodes[number].names[name]
        return self.nodes[number]

    def _change(self, folder: Path, *change: tuple[str, int | None]) -> None:
        node = self._node(folder)
        node.changes.append(change)
        _apply(node.names, change)

    def create(self, path: Path, *, folder: bool) -> None:
        self.nodes.append(Node(folder))
        self._change(path.parent, (path.name, len(self.nodes) - 1))

    def append(self, path: Path, content: bytes) -> None:
        self._node(path).data += content

    def sync(self, path: Path) -> None:
        if self.syncs:
            node = self._node(path)
            node.synced, node.synced_names, node.changes = node.data, dict(node.names), []

    def rename(self, source: Path, target: Path) -> None:
        number = self._node(source.parent).names[source.name]
        self._change(source.parent, (source.name, None), (target.name, number))

    def remove(self, path: Path) -> None:
        self._change(path.parent, (path.name, None))

    def survives(self, place: Path, tail: Tail) -> None:
        """Make what is left after a cut, in the way of `tail`, below `place`."""
        self._make(0, place, tail)

    def _make(self, number: int, place: Path, tail: Tail) -> None:
        node = self.nodes[number]
        if not node.folder:
            place.write_bytes(node.synced + tail.data(node.data[len(node.synced) :]))
            return
        os.makedirs(place, exist_ok=True)
        names = dict(node.synced_names)
        for change in tail.names(node.changes):
            _apply(names, change)
        for name, child in names.items():
            self._make(child, place / name, tail)


def _apply(names: dict[str, int], change: Change) -> None:
    for name, number in change:
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number


@dataclass(frozen=True, slots=True)
class Tail:
    """What is there of unsynced data, and which of a folder's unsynced changes."""

    data: Callable[[bytes], bytes]
    names: Callable[[list[Change]], Iterable[Change]]


def _all(content: bytes) -> bytes:
    return content


def _no_data(_: bytes) -> bytes:
    return b""


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _zeros(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def tails(seed: int) -> list[Tail]:
    """The ways in which a cut is tried: nothing, names without data, data without names, halves, and a random mix."""
    chance = random.Random(seed)

    def some(content: bytes) -> bytes:
        return content[: chance.randint(0, len(content))]

    def subset(changes: list[Change]) -> list[Change]:
        return [change for change in changes if chance.random() < 0.5]

    return [
        Tail(_no_data, lambda _: []),
        Tail(_no_data, lambda changes: changes),
        Tail(_all, lambda _: []),
        Tail(_zeros, lambda changes: changes[: len(changes) // 2]),
        Tail(some, subset),
    ]
