"""What a person does to runs that exist: tag them, note something, put them into the trash and back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BusyError, LogsError
from ..utils.files import is_folder, read_json, to_json_bytes, write_atomically
from .layout import is_locked, is_run

TRASH = ".trash"
LONGEST_NOTE = 10_000


def read_notes(folder: Path) -> tuple[list[str], str]:
    """The tags and the note that were given to a run after its start."""
    content: Any = read_json(folder / "notes.json")
    if not isinstance(content, dict):
        return [], ""
    tags = content.get("tags")
    return [str(tag) for tag in tags] if isinstance(tags, list) else [], str(content.get("note", ""))


def write_notes(folder: Path, tags: Sequence[str], note: str) -> None:
    """Replace a run's tags and note; the last writer wins.

    Raises:
        LogsError: the folder cannot be written.
    """
    content = {"tags": list(dict.fromkeys(tag for tag in tags if tag)), "note": note[:LONGEST_NOTE]}
    try:
        write_atomically(folder / "notes.json", to_json_bytes(content))
    except OSError as error:
        raise LogsError(f"the notes of {folder.name} cannot be written ({error.strerror})", "mend its folder") from None


def trash(folder: Path) -> Path:
    """Move a run into the trash of its logs folder; where it lies now.

    Raises:
        BusyError: a process trains it.
        LogsError: it cannot be moved.
    """
    if is_locked(folder):
        raise BusyError(f"run {folder.name} is active", "stop it first")
    return _move(folder, folder.parent / TRASH / folder.name)


def restore(logs: Path, run_id: str) -> Path:
    """Move a run back out of the trash; where it lies now.

    Raises:
        LogsError: it is not there, or cannot be moved.
    """
    moved = _move(logs / TRASH / run_id, logs / run_id)
    with contextlib.suppress(OSError):
        (logs / TRASH).rmdir()
    return moved


def trashed(logs: Path) -> list[str]:
    """The ids of the runs in the trash, the last one thrown away last."""
    folder = logs / TRASH
    found = [path for path in folder.iterdir() if is_run(path)] if is_folder(folder) else []
    return [path.name for path in sorted(found, key=lambda path: path.stat().st_ctime)]


def _move(source: Path, target: Path) -> Path:
    try:
        target.parent.mkdir(exist_ok=True)
        if not is_folder(source) or not (is_folder(target.parent) or target.parent == source.parent.parent):
            raise LogsError(f"{source} cannot be moved to {target.parent}", "a link stands in its way")
        if target.exists():
            raise LogsError(f"{target} is there already", "rename one of the two")
        os.rename(source, target)
    except OSError as error:
        raise LogsError(f"{source} cannot be moved ({error.strerror or error})", "mend its permissions") from None
    return target
