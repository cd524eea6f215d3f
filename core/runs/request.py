"""The request of a run, request.json in its folder: what to train, for a process that starts later or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from ..utils.files import (
    DISK,
    is_regular,
    make_folders,
    read_json,
    to_json_bytes,
    write_atomically,
)
from .layout import is_run

REQUEST = "request.json"
KEYS = ("preset", "name", "tags", "study", "reported", "config")


def write_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Create the folder of a run that is to be trained, with its request.

    Raises:
        OSError: the folder cannot be created, or exists already.
    """
    make_folders(folder.parent)
    DISK.mkdir(folder)
    content = to_json_bytes({key: request[key] for key in KEYS})
    write_atomically(folder / REQUEST, content, durable=True)


def is_requested(folder: Path) -> bool:
    """Whether a folder holds a request for a run that has not started yet."""
    return is_regular(folder / REQUEST) and not is_run(folder)


def load_request(folder: Path) -> dict[str, Any]:
    """The request for a worker that is to start the run of a folder, or to resume it.

    Raises:
        InputError: there is no run in the folder.
    """
    place = {"logs": str(folder.parent), "run_id": folder.name}
    if is_run(folder):
        return {**place, "resume": True}
    content = read_json(folder / REQUEST)
    if not isinstance(content, dict) or not set(KEYS) <= set(cast("dict[str, Any]", content)):
        raise InputError(f"there is no run in {folder}", "name the folder of a run")
    return {**place, "resume": False, **cast("dict[str, Any]", content)}


@dataclass(frozen=True, slots=True)
class RankTimeouts:
    """What a run on several devices tolerates.

    A rank counts as dead after `timeout` seconds without an answer; the run is resumed from its last checkpoint up to
    `retries` times after a rank died.
    """

    timeout: float = 600.0
    retries: int = 0


DEFAULT_RANK_TIMEOUTS = RankTimeouts()
