"""The processes that work on one study, its parents: each holds a lock of its own while it lives.

A parent's workers inherit a second lock, so that others know when the last of them is gone. Who it is, and on which
machine, stands in the lock files.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..devices.slots import Slot, slot_on
from ..errors import BusyError, LogsError
from ..runs.commands import write_command
from ..utils.files import DISK, Disk, disk_error_text, is_folder, read_json
from ..utils.locks import is_held, lock_owner, take_lock
from ..utils.validation import Reader, list_of, text, valid_items

FOLDER = "parents"
BEAT = 5.0
"""Seconds between two signs of life, which are the time of change of a parent's lock file."""

SILENCE = 4 * BEAT
"""Seconds without one after which a parent on another machine, whose lock is free, is gone."""

MOST_PLACES = 1000
"""Of one parent, as its lock file tells them."""

_OWNER: Mapping[str, Reader] = {"host": text, "cluster": text, "slots": list_of(text)}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,100}")


@dataclass(slots=True)
class Parent:
    """This process as a parent of a study, with its two locks."""

    folder: Path
    name: str
    workers: int
    """The descriptor of the lock that its workers inherit."""
    _alive: int
    _beaten: float = 0.0

    def beat(self, now: float) -> None:
        """Give a sign of life, where the last is old; `now` in seconds on any clock."""
        if now - self._beaten >= BEAT:
            self._beaten = now
            with suppress(OSError):
                os.utime(self._alive)

    def take_stop(self) -> bool:
        """Whether somebody asked this parent to stop; asking counts once."""
        path = _stop_file(self.folder, self.name)
        if not is_folder(path.parent) or not os.path.lexists(path):
            return False
        # A disk that refuses keeps it: nobody else has this parent's name.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return True

    def leave(self) -> None:
        """Free the locks; a worker that still lives keeps the one that it inherited."""
        self.take_stop()
        # What a disk refuses to delete, the next parent sweeps away.
        with suppress(OSError):
            _alive_file(self.folder, self.name).unlink(missing_ok=True)
        os.close(self._alive)
        os.close(self.workers)
        with suppress(OSError):
            if not workers_live(self.folder, self.name):
                _workers_file(self.folder, self.name).unlink(missing_ok=True)


def enter(folder: Path, slots: Sequence[Slot] = (), *, join: bool, cluster: str = "") -> Parent:
    """Become a parent of a study that trains in these slots; only while holding the study's lock.

    One that gives the runs to a `cluster` is alone: the cluster has them still when that parent is gone.

    Raises:
        BusyError: another parent lives, and cannot or is not to be joined, or trains on the same GPU.
        OSError: the folder cannot be written.
    """
    with suppress(FileExistsError):
        os.mkdir(folder / FOLDER)
    if not is_folder(folder / FOLDER):
        raise OSError(errno.ENOTDIR, f"{FOLDER} is not a folder")
    others, devices = living(folder), [gpu for slot in slots for gpu in slot.gpus]
    if others and not join:
        owner = lock_owner(_alive_file(folder, others[0]))
        hint = f"follow it with: torchdeck study-status {folder.name}, or work on it as well with --join"
        raise BusyError(f"study {folder.name} is active in {owner}", hint)
    for name in others:
        _check_beside(_alive_file(folder, name), devices)
    _sweep(folder)
    host = re.sub(r"[^A-Za-z0-9]+", "-", _host())[:60].strip("-") or "host"
    name = f"{host}-{os.getpid()}-{secrets.token_hex(2)}"
    about = {"slots": [slot.name for slot in slots], "gpus": devices, "cluster": cluster}
    alive = take_lock(_alive_file(folder, name), about=about)
    try:
        return Parent(folder, name, take_lock(_workers_file(folder, name)), alive)
    except OSError:
        os.close(alive)
        raise


def _check_beside(other: Path, devices: Sequence[str]) -> None:
    """Make sure that one can work beside another parent: runs that share a GPU slow each other."""
    owner = read_json(other)
    if not isinstance(owner, dict):
        return
    if cluster := owner.get("cluster"):
        hint = "wait for its end, or stop it first"
        raise BusyError(f"{lock_owner(other)} gives the runs of the study to {cluster}", hint)
    used = owner.get("gpus") if owner.get("host") == _host() else None
    if shared := [gpu for gpu in devices if isinstance(used, list) and gpu in used]:
        raise BusyError(f"GPU {shared[0]} is used by {lock_owner(other)}", "name others with --devices")


def signs_of_life(folder: Path) -> dict[str, int]:
    """When each parent on another machine, whose lock is free, last gave a sign of life, by its name.

    One that goes on giving them lives, and its lock is not seen here.
    """
    found: dict[str, int] = {}
    for name in _names(folder):
        path = _alive_file(folder, name)
        owner = read_json(path)
        if isinstance(owner, dict) and owner.get("host") != _host() and not is_held(path):
            with suppress(OSError):
                found[name] = path.lstat().st_mtime_ns
    return found


def check_unchanged(folder: Path, before: Mapping[str, int]) -> None:
    """Make sure that no parent gave another sign of life since `signs_of_life`.

    Raises:
        BusyError: one did, so that no lock can be trusted here.
    """
    now = signs_of_life(folder)
    for name, when in before.items():
        if now.get(name, when) != when:
            owner = lock_owner(_alive_file(folder, name))
            hint = "mount its folder so that locks hold across machines, or let one machine work on it"
            raise BusyError(f"study {folder.name} is active in {owner}, whose lock is not seen here", hint)


def living(folder: Path) -> list[str]:
    """The names of the parents that live."""
    return [name for name in _names(folder) if lives(folder, name)]


def places(folder: Path) -> dict[str, tuple[str, ...]]:
    """Where each parent that lives trains, by its name, as a run's `place` tells it; nothing where a cluster does."""
    found: dict[str, tuple[str, ...]] = {}
    for name in living(folder):
        owner = valid_items(read_json(_alive_file(folder, name)), _OWNER)
        slots = () if owner.get("cluster") else owner.get("slots", ())[:MOST_PLACES]
        found[name] = tuple(slot_on(slot, owner.get("host", "?")) for slot in slots)
    return found


def lives(folder: Path, name: str) -> bool:
    """Whether a parent of this name lives."""
    return _holds(folder, name, _alive_file(folder, name))


def workers_live(folder: Path, name: str) -> bool:
    """Whether a parent of this name, or any worker that it started, lives."""
    return _holds(folder, name, _workers_file(folder, name))


def _holds(folder: Path, name: str, lock: Path) -> bool:
    return _NAME.fullmatch(name) is not None and is_folder(folder / FOLDER) and bool(is_held(lock))


def dying(folder: Path) -> list[str]:
    """The names of the parents that are gone, while workers of theirs still live."""
    return [name for name in _names(folder) if not lives(folder, name) and workers_live(folder, name)]


def request_stop(folder: Path, disk: Disk = DISK) -> None:
    """Ask all processes that work on a study to stop their runs with checkpoints and leave.

    Raises:
        LogsError: nobody works on it, or its folder cannot be written.
    """
    asked = living(folder)
    if not asked:
        raise LogsError(f"study {folder.name} is not active", f"go on with: torchdeck study {folder.name}")
    try:
        for name in asked:
            write_command(folder, _stop_file(folder, name).name, disk=disk)
    except OSError as error:
        raise LogsError(
            f"study {folder.name} cannot be asked ({disk_error_text(error)})", "mend its permissions"
        ) from None


def _sweep(folder: Path) -> None:
    """Delete the locks of parents that are gone with all their workers."""
    for name in _names(folder):
        if not lives(folder, name) and not workers_live(folder, name):
            for path in (_alive_file(folder, name), _workers_file(folder, name), _stop_file(folder, name)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    """The parents whose locks are there."""
    if not is_folder(folder / FOLDER):
        return []
    try:
        found = sorted(entry.name for entry in os.scandir(folder / FOLDER))
    except OSError:
        return []
    return [name for file in found if _NAME.fullmatch(name := file.removesuffix(".lock")) and file != name]


def _alive_file(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.lock"


def _workers_file(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.workers"


def _stop_file(folder: Path, name: str) -> Path:
    return folder / "control" / f"stop-{name}"


def _host() -> str:
    return os.uname().nodename
