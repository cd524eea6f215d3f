"""Manage runs that exist: tags and notes, the trash, and the disk space that they take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BusyError, LogsError
from ..utils.files import is_folder, read_json, remove_tree, to_json_bytes, write_atomically
from . import checkpoint
from .index import RunRow
from .layout import is_locked, is_run
from .reader import load_record

TRASH = ".trash"
MAX_NOTE_LENGTH = 10_000


def read_notes(folder: Path) -> tuple[list[str], str]:
    """The tags and the note that a run got after its start."""
    content: Any = read_json(folder / "notes.json")
    if not isinstance(content, dict):
        return [], ""
    tags = content.get("tags")
    return [str(tag) for tag in tags] if isinstance(tags, list) else [], str(content.get("note", ""))


def write_notes(folder: Path, tags: Sequence[str], note: str) -> None:
    """Replace the tags and the note of a run; the last writer wins.

    Raises:
        LogsError: the folder cannot be written.
    """
    content = {"tags": list(dict.fromkeys(tag for tag in tags if tag)), "note": note[:MAX_NOTE_LENGTH]}
    try:
        write_atomically(folder / "notes.json", to_json_bytes(content))
    except OSError as error:
        raise LogsError(
            f"the notes of {folder.name} cannot be written ({error.strerror})", "fix the permissions of its folder"
        ) from None


def trash(folder: Path) -> Path:
    """Move a run into the trash of its logs folder; returns its new path.

    Raises:
        BusyError: the run is active.
        LogsError: it cannot be moved.
    """
    if is_locked(folder):
        raise BusyError(f"run {folder.name} is active", "stop it first")
    return _move(folder, folder.parent / TRASH / folder.name)


def restore(logs: Path, run_id: str) -> Path:
    """Move a run out of the trash; returns its new path.

    Raises:
        LogsError: the run is not in the trash, or cannot be moved.
    """
    moved = _move(logs / TRASH / run_id, logs / run_id)
    with contextlib.suppress(OSError):
        (logs / TRASH).rmdir()
    return moved


def trash_ids(logs: Path) -> list[str]:
    """The ids of the runs in the trash, the most recently deleted last."""
    folder = logs / TRASH
    found = [path for path in folder.iterdir() if is_run(path)] if is_folder(folder) else []
    return [path.name for path in sorted(found, key=lambda path: path.stat().st_ctime)]


def empty_trash(logs: Path) -> list[str]:
    """Delete the runs in the trash for good; returns their ids.

    Raises:
        LogsError: one cannot be deleted.
    """
    run_ids = trash_ids(logs)
    for run_id in run_ids:
        _delete(logs / TRASH / run_id)
    return run_ids


def disk_use(folder: Path) -> dict[str, int]:
    """The bytes in a run folder, by log, checkpoints and everything else."""
    use = {"log": 0, "checkpoints": 0, "other": 0}
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                use[_kind(folder, Path(path), name)] += os.lstat(f"{path}/{name}").st_size
    return use


def _kind(folder: Path, path: Path, name: str) -> str:
    if path == folder:
        return "log" if name == "events.jsonl" else "other"
    return "checkpoints" if path.is_relative_to(folder / "checkpoints") else "other"


def prunable(row: RunRow, keep_best: bool) -> list[Path]:
    """The checkpoints of an ended run that can be deleted.

    A completed run needs none, or only the best one (for `export`); a run that can be resumed needs the newest as well.
    """
    if row.status not in ("completed", "stopped", "failed", "died"):
        return []
    folders = list(checkpoint.newest_first(row.folder / "checkpoints"))
    kept = set(folders[:1]) if row.status != "completed" else set[Path]()
    best = load_record(row.folder).best_saved if keep_best else None
    if best is not None:
        kept.add(checkpoint.folder_of(row.folder / "checkpoints", best))
    return [folder for folder in folders if folder not in kept]


def prune(row: RunRow, keep_best: bool) -> int:
    """Delete the prunable checkpoints of a run; returns the bytes freed.

    Raises:
        BusyError: the run is active.
        LogsError: one cannot be deleted.
    """
    if is_locked(row.folder):
        raise BusyError(f"run {row.id} is active", "stop it first")
    before = disk_use(row.folder)["checkpoints"]
    for folder in prunable(row, keep_best):
        _delete(folder)
    return before - disk_use(row.folder)["checkpoints"]


def _delete(folder: Path) -> None:
    try:
        remove_tree(folder)
    except OSError as error:
        raise LogsError(f"{folder} cannot be deleted ({error.strerror or error})", "fix its permissions") from None


def _move(source: Path, target: Path) -> Path:
    try:
        target.parent.mkdir(exist_ok=True)
        if not is_folder(source) or not (is_folder(target.parent) or target.parent == source.parent.parent):
            raise LogsError(f"{source} cannot be moved to {target.parent}", "a link is in the way; remove it")
        if target.exists():
            raise LogsError(f"{target} exists already", "rename one of the two")
        os.rename(source, target)
    except OSError as error:
        raise LogsError(f"{source} cannot be moved ({error.strerror or error})", "fix its permissions") from None
    return target
