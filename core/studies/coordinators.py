"""The coordinators of a study, the processes that work on it: each holds a lock of its own in `parents/`.

The workers of a coordinator inherit a second lock, so that others know when the last of them is gone. The lock files
contain process id and host.
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
from ..utils.files import disk_error_text, is_folder, read_json
from ..utils.locks import is_held, lock_owner, take_lock
from ..utils.validation import Reader, list_of, text, valid_items

FOLDER = "parents"
HEARTBEAT_SECONDS = 5.0
"""Seconds between two heartbeats, which set the modification time of a coordinator's lock file."""

SILENCE_SECONDS = 4 * HEARTBEAT_SECONDS
"""Seconds without a heartbeat after which a coordinator on another machine, whose lock is free, is gone."""

MAX_SLOTS = 1000
"""The most slots that are read from one lock file."""

_OWNER: Mapping[str, Reader] = {"host": text, "cluster": text, "slots": list_of(text)}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,100}")


@dataclass(slots=True)
class Coordinator:
    """This process as a coordinator of a study, with its two locks."""

    folder: Path
    name: str
    worker_lock: int
    """The descriptor of the lock that its workers inherit."""
    _lock: int
    _last_heartbeat: float = 0.0

    def heartbeat(self, now: float) -> None:
        """Give a heartbeat where the last one is old; `now` in seconds on any clock."""
        if now - self._last_heartbeat >= HEARTBEAT_SECONDS:
            self._last_heartbeat = now
            with suppress(OSError):
                os.utime(self._lock)

    def take_stop(self) -> bool:
        """Whether this coordinator was sent a stop; every stop is returned once."""
        path = _stop_file(self.folder, self.name)
        if not is_folder(path.parent) or not os.path.lexists(path):
            return False
        # On a disk error the file stays, which is harmless: no other coordinator has this name.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return True

    def unregister(self) -> None:
        """Release the locks; workers that still train keep the one that they inherited."""
        self.take_stop()
        # What cannot be deleted now is deleted by the next coordinator.
        with suppress(OSError):
            _lock_file(self.folder, self.name).unlink(missing_ok=True)
        os.close(self._lock)
        os.close(self.worker_lock)
        with suppress(OSError):
            if not has_workers(self.folder, self.name):
                _workers_file(self.folder, self.name).unlink(missing_ok=True)


def register(folder: Path, slots: Sequence[Slot] = (), *, join: bool, cluster: str = "") -> Coordinator:
    """Register this process as a coordinator with these slots; call it only while holding the study's lock.

    A coordinator that submits the runs to a `cluster` must be alone, because the cluster keeps them when it is gone.

    Raises:
        BusyError: another coordinator is active, and cannot or must not be joined, or trains on the same GPU.
        OSError: the folder cannot be written.
    """
    with suppress(FileExistsError):
        os.mkdir(folder / FOLDER)
    if not is_folder(folder / FOLDER):
        raise OSError(errno.ENOTDIR, f"{FOLDER} is not a folder")
    others, devices = active_coordinators(folder), [gpu for slot in slots for gpu in slot.gpus]
    if others and not join:
        owner = lock_owner(_lock_file(folder, others[0]))
        hint = f"see it with: torchdeck study-status {folder.name}, or join it with --join"
        raise BusyError(f"study {folder.name} is active in {owner}", hint)
    for name in others:
        _check_compatible(_lock_file(folder, name), devices)
    _delete_stale_locks(folder)
    host = re.sub(r"[^A-Za-z0-9]+", "-", _host())[:60].strip("-") or "host"
    name = f"{host}-{os.getpid()}-{secrets.token_hex(2)}"
    about = {"slots": [slot.name for slot in slots], "gpus": devices, "cluster": cluster}
    alive = take_lock(_lock_file(folder, name), about=about)
    try:
        return Coordinator(folder, name, take_lock(_workers_file(folder, name)), alive)
    except OSError:
        os.close(alive)
        raise


def _check_compatible(other: Path, devices: Sequence[str]) -> None:
    """Check that this process can work beside another coordinator: runs that share a GPU slow each other down."""
    owner = read_json(other)
    if not isinstance(owner, dict):
        return
    if cluster := owner.get("cluster"):
        hint = "wait for its end, or stop it first"
        raise BusyError(f"{lock_owner(other)} submits the runs of the study to {cluster}", hint)
    used = owner.get("gpus") if owner.get("host") == _host() else None
    if shared := [gpu for gpu in devices if isinstance(used, list) and gpu in used]:
        raise BusyError(f"GPU {shared[0]} is used by {lock_owner(other)}", "name others with --devices")


def foreign_heartbeats(folder: Path) -> dict[str, int]:
    """The last heartbeat of each coordinator on another machine whose lock seems free, by its name.

    If one continues to give heartbeats, it is alive, and locks do not work across the machines.
    """
    found: dict[str, int] = {}
    for name in _names(folder):
        path = _lock_file(folder, name)
        owner = read_json(path)
        if isinstance(owner, dict) and owner.get("host") != _host() and not is_held(path):
            with suppress(OSError):
                found[name] = path.lstat().st_mtime_ns
    return found


def check_no_heartbeat(folder: Path, before: Mapping[str, int]) -> None:
    """Check that no coordinator gave a heartbeat since `foreign_heartbeats` was called.

    Raises:
        BusyError: one did, so that locks cannot be trusted here.
    """
    now = foreign_heartbeats(folder)
    for name, when in before.items():
        if now.get(name, when) != when:
            owner = lock_owner(_lock_file(folder, name))
            hint = "mount the logs so that file locks work across machines, or use one machine only"
            raise BusyError(f"study {folder.name} is active in {owner}, whose lock cannot be seen here", hint)


def active_coordinators(folder: Path) -> list[str]:
    """The names of the coordinators that are alive."""
    return [name for name in _names(folder) if is_alive(folder, name)]


def coordinator_slots(folder: Path) -> dict[str, tuple[str, ...]]:
    """The slots of each active coordinator by its name, in the form of `StudyRun.place`; none for a cluster."""
    found: dict[str, tuple[str, ...]] = {}
    for name in active_coordinators(folder):
        owner = valid_items(read_json(_lock_file(folder, name)), _OWNER)
        slots = () if owner.get("cluster") else owner.get("slots", ())[:MAX_SLOTS]
        found[name] = tuple(slot_on(slot, owner.get("host", "?")) for slot in slots)
    return found


def is_alive(folder: Path, name: str) -> bool:
    """Whether the coordinator of this name is alive."""
    return _holds(folder, name, _lock_file(folder, name))


def has_workers(folder: Path, name: str) -> bool:
    """Whether the coordinator of this name, or any worker that it started, is alive."""
    return _holds(folder, name, _workers_file(folder, name))


def _holds(folder: Path, name: str, lock: Path) -> bool:
    return _NAME.fullmatch(name) is not None and is_folder(folder / FOLDER) and bool(is_held(lock))


def gone_with_workers(folder: Path) -> list[str]:
    """The names of coordinators that are gone while some of their workers are still alive."""
    return [name for name in _names(folder) if not is_alive(folder, name) and has_workers(folder, name)]


def request_stop(folder: Path) -> None:
    """Ask all coordinators of a study to stop their runs with checkpoints and to end.

    Raises:
        LogsError: the study is not active, or its folder cannot be written.
    """
    names = active_coordinators(folder)
    if not names:
        raise LogsError(f"study {folder.name} is not active", f"continue it with: torchdeck study {folder.name}")
    try:
        for name in names:
            write_command(folder, _stop_file(folder, name).name)
    except OSError as error:
        raise LogsError(
            f"cannot send a stop to study {folder.name} ({disk_error_text(error)})", "fix its permissions"
        ) from None


def _delete_stale_locks(folder: Path) -> None:
    """Delete the lock files of coordinators that are gone with all their workers."""
    for name in _names(folder):
        if not is_alive(folder, name) and not has_workers(folder, name):
            for path in (_lock_file(folder, name), _workers_file(folder, name), _stop_file(folder, name)):
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    """The names of all coordinators with a lock file."""
    if not is_folder(folder / FOLDER):
        return []
    try:
        found = sorted(entry.name for entry in os.scandir(folder / FOLDER))
    except OSError:
        return []
    return [name for file in found if _NAME.fullmatch(name := file.removesuffix(".lock")) and file != name]


def _lock_file(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.lock"


def _workers_file(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.workers"


def _stop_file(folder: Path, name: str) -> Path:
    return folder / "control" / f"stop-{name}"


def _host() -> str:
    return os.uname().nodename
