"""What a run is asked to be, in its directory before there is more: it may be trained elsewhere, or later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from ..utils.files import (
    DISK,
    Disk,
    is_regular,
    make_folders,
    read_json,
    to_json_bytes,
    write_atomically,
)
from .layout import is_run

REQUEST = "request.json"
KEYS = ("preset", "name", "tags", "study", "reported", "config")


def write_request(folder: Path, request: Mapping[str, Any], disk: Disk = DISK) -> None:
    """Make the directory of a run that is to be.

    Raises:
        OSError: it cannot be made, or is there already.
    """
    make_folders(folder.parent, disk)
    disk.mkdir(folder)
    content = to_json_bytes({key: request[key] for key in KEYS})
    write_atomically(folder / REQUEST, content, durable=True, disk=disk)


def is_requested(folder: Path) -> bool:
    """Whether a directory holds a run that is still to begin."""
    return is_regular(folder / REQUEST) and not is_run(folder)


def load_request(folder: Path) -> dict[str, Any]:
    """The request that a process needs to train the run of a directory, from its beginning or where it stands.

    Raises:
        InputError: there is no run in it.
    """
    place = {"logs": str(folder.parent), "run_id": folder.name}
    if is_run(folder):
        return {**place, "resume": True}
    content = read_json(folder / REQUEST)
    if not isinstance(content, dict) or not set(KEYS) <= set(cast("dict[str, Any]", content)):
        raise InputError(f"there is no run in {folder}", "name the directory of a run")
    return {**place, "resume": False, **cast("dict[str, Any]", content)}


@dataclass(frozen=True, slots=True)
class RankTimeouts:
    """What is borne with in a run on several devices.

    A rank is given up after `timeout` seconds without an answer; `retries` times the run goes on from its last
    checkpoint after a rank died.
    """

    timeout: float = 600.0
    retries: int = 0


DEFAULT_RANK_TIMEOUTS = RankTimeouts()
