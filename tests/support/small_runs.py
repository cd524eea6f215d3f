"""Small configs, a clock that only moves when it is read, and the one run of a logs folder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchdeck.core.control import CommandName

SMALL: dict[str, Any] = {
    "data": {"name": "synthetic", "size": 16, "train_images": 96, "test_images": 40, "classes": 4},
    "model": {"name": "lenet"},
    "optimizer": {"name": "sgd", "lr": 0.05},
    "training": {"epochs": 3, "batch_size": 32, "threads": 1},
}


class Clock:
    """Each look moves it by a hundredth of a second."""

    def __init__(self) -> None:
        self._ticks = itertools.count(1)

    def __call__(self) -> float:
        return next(self._ticks) / 100


class AskAt:
    """An inbox that asks for commands, each at a look: one look a batch, evaluation batches too."""

    def __init__(self, commands: dict[int, CommandName]) -> None:
        self.commands = commands
        self.look = 0

    def take(self) -> Any:
        self.look += 1
        command = self.commands.get(self.look)
        return (command, "asked") if command else None

    def wait(self, seconds: float) -> None:
        """While a run is paused, one look follows another."""


def changed(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with `{"section.key": value}` changes; a changed name starts its section anew."""
    made = {section: dict(values) for section, values in content.items()}
    for path, value in sorted(changes.items(), key=lambda pair: not pair[0].endswith(".name")):
        section, _, key = path.partition(".")
        if key == "name":
            made[section] = {}
        made.setdefault(section, {})[key] = value
    return made


def only_run(logs: Path) -> Path:
    """The one run of a logs folder."""
    (folder,) = (path for path in logs.iterdir() if path.is_dir())
    return folder
