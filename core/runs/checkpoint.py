"""Checkpoints: write, verify, load and delete them. One folder per step with safetensors and JSON; never pickle.

A checkpoint is written to a staging folder, its manifest of SHA-256 sums last, and then renamed. A folder cannot be
replaced atomically, so an older checkpoint of the same step is renamed to `step-….old` first: whenever the process is
killed, one of the two is found.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import CheckpointError
from ..utils.files import (
    DISK,
    Disk,
    is_folder,
    read_json,
    read_regular,
    remove_tree,
    sync_folder,
    to_json_bytes,
    write_new,
)
from ..utils.validation import too_deep

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
KEEP_LAST = 2
FILES = ("model.safetensors", "state.safetensors", "state.json")
MAX_FILE_BYTES = 4 * 2**30
"""Bytes; enough for the weights or the optimizer state of about a billion parameters."""

_HINT = "use an earlier checkpoint"
_PREFIX = "step-"
_OLD = ".old"
_NAME = re.compile(r"step-\d{8,18}(\.old)?")


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint that has been written."""

    folder: Path
    step: int
    manifest_sha256: str


def save(
    root: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any], disk: Disk = DISK
) -> SavedCheckpoint:
    """Write a checkpoint of `step`; it appears complete or not at all.

    Raises:
        OSError: it cannot be written; earlier checkpoints are intact.
    """
    if not os.path.lexists(root):
        # Only this folder: a checkpoint must not create a run folder that was removed.
        disk.mkdir(root)
        sync_folder(root.parent, disk)
    if not is_folder(root):
        raise OSError(errno.ENOTDIR, "not a folder", str(root))
    clean_up(root, disk)
    staging = root / f".{_PREFIX}{step:08d}.tmp"
    disk.mkdir(staging)
    contents = _serialize(tensors, state)
    for name, content in contents.items():
        write_new(staging / name, content, disk=disk)
    manifest = to_json_bytes({"schema": SCHEMA, "step": step, "files": {n: _entry(c) for n, c in contents.items()}})
    write_new(staging / "manifest.json", manifest, disk=disk)
    sync_folder(staging, disk)
    target = root / f"{_PREFIX}{step:08d}"
    _replace(staging, target, disk)
    return SavedCheckpoint(target, step, hashlib.sha256(manifest).hexdigest())


def _serialize(tensors: dict[str, Tensor], state: dict[str, Any]) -> dict[str, bytes]:
    import safetensors.torch  # imports torch, seconds, which code that only lists checkpoints does not need

    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    model = {name.removeprefix("model."): flat.pop(name) for name in list(flat) if name.startswith("model.")}
    return {
        "model.safetensors": safetensors.torch.save(model),
        "state.safetensors": safetensors.torch.save(flat),
        "state.json": to_json_bytes(state),
    }


def _replace(staging: Path, target: Path, disk: Disk) -> None:
    """Move a complete checkpoint into place; an older one of the same step is deleted only afterwards."""
    old = target.with_name(target.name + _OLD)
    renamed = target.exists()
    if renamed:
        disk.rename(target, old)
    disk.rename(staging, target)
    sync_folder(target.parent, disk)
    if renamed:
        with suppress(OSError):
            remove_tree(old, disk)


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint, verified against its manifest.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or in a newer format.
    """
    contents = _read_verified(folder)
    model, state = (_tensors(folder / name, contents[name]) for name in ("model.safetensors", "state.safetensors"))
    tensors = {**{f"model.{name}": tensor for name, tensor in model.items()}, **state}
    try:
        about = json.loads(contents["state.json"])
    except (ValueError, RecursionError) as error:
        raise _damaged(folder / "state.json", str(error)) from None
    if not isinstance(about, dict) or too_deep(about):
        raise _damaged(folder / "state.json", "it contains no state")
    return tensors, cast("dict[str, Any]", about)


def load_model(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, verified like those of `load`."""
    return _tensors(folder / "model.safetensors", _read_verified(folder)["model.safetensors"])


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    import safetensors.torch  # torch, seconds

    try:
        return safetensors.torch.load(content)
    except Exception as error:  # noqa: BLE001 - a library may raise anything on untrusted bytes
        raise _damaged(path, str(error)) from None


def _read_verified(folder: Path) -> dict[str, bytes]:
    """The verified files of a checkpoint; files whose size differs from the manifest are not read."""
    if not is_folder(folder):
        raise CheckpointError(f"there is no checkpoint {folder}", "use another one")
    manifest = _manifest(folder)
    contents: dict[str, bytes] = {}
    for name in FILES:
        path, entry = folder / name, manifest["files"].get(name)
        size = entry.get("bytes") if isinstance(entry, dict) else None
        if not isinstance(size, int) or not 0 <= size <= MAX_FILE_BYTES:
            raise _damaged(path, "its manifest has no size for it")
        try:
            if os.lstat(path).st_size != size:
                raise _damaged(path, "its size differs")
            contents[name] = read_regular(path, size)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror})", _HINT) from None
        if _entry(contents[name]) != entry:
            raise _damaged(path, "its checksum differs")
    return contents


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint; it must be byte for byte what was written."""
    path = folder / "manifest.json"
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise CheckpointError(f"{folder} has no readable manifest", _HINT)
    manifest = cast("dict[str, Any]", content)
    if manifest.get("schema") != SCHEMA:
        raise CheckpointError(f"{folder} was written by a newer Torchdeck", "update Torchdeck")
    named = folder.name.removesuffix(_OLD) == f"{_PREFIX}{manifest.get('step'):08d}" if _is_step(manifest) else False
    if not named or read_regular(path) != to_json_bytes(manifest) or set(manifest) != {"schema", "step", "files"}:
        raise _damaged(path, "it was changed after it was written")
    return manifest


def _is_step(manifest: dict[str, Any]) -> bool:
    return isinstance(manifest.get("step"), int) and manifest["step"] >= 0


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path.parent.name}/{path.name} is damaged: {why}", _HINT)


def newest_first(root: Path) -> Iterator[Path]:
    """The checkpoint folders, highest step first, without verifying them."""
    if is_folder(root):
        found = (path for path in root.iterdir() if _NAME.fullmatch(path.name) and is_folder(path))
        yield from sorted(found, key=_sort_key, reverse=True)


def _sort_key(folder: Path) -> tuple[str, bool]:
    return folder.name.removesuffix(_OLD), not folder.name.endswith(_OLD)


def folder_of(root: Path, step: int) -> Path:
    """The folder of the checkpoint of a step."""
    folder = root / f"{_PREFIX}{step:08d}"
    old = folder.with_name(folder.name + _OLD)
    return old if old.exists() and not folder.exists() else folder


def step_of(folder: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(_sort_key(folder)[0].removeprefix(_PREFIX))


def steps(root: Path) -> tuple[int, ...]:
    """The steps of the checkpoints, highest first."""
    return tuple(map(step_of, newest_first(root)))


def delete_beyond(root: Path, step: int, disk: Disk = DISK) -> None:
    """Delete the checkpoints of later steps after a roll-back; one that cannot be deleted will be overwritten."""
    for folder in newest_first(root):
        if step_of(folder) > step:
            with suppress(OSError):
                remove_tree(folder, disk)


def delete_old(root: Path, step: int, *wanted: int | None, disk: Disk = DISK) -> None:
    """Delete checkpoints up to `step`, except the newest `KEEP_LAST` complete ones and the `wanted` steps.

    Raises:
        OSError: one cannot be deleted.
    """
    here = f"{_PREFIX}{step:08d}"
    passed = [folder for folder in newest_first(root) if _sort_key(folder)[0] <= here]
    others = {folder_of(root, other) for other in wanted if other is not None}
    kept = [folder for folder in passed if _looks_complete(folder)][:KEEP_LAST]
    for folder in passed:
        if folder not in kept and folder not in others:
            remove_tree(folder, disk)


def _looks_complete(folder: Path) -> bool:
    """Whether the files have the sizes in the manifest; checksums are verified only when a checkpoint is loaded."""
    manifest = read_json(folder / "manifest.json")
    with suppress(OSError, TypeError, KeyError, AttributeError):
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items())
    return False


def clean_up(root: Path, disk: Disk = DISK) -> None:
    """Finish or delete what an interrupted save left behind; what cannot be deleted does no harm."""
    if not is_folder(root):
        return
    for old in root.glob(f"{_PREFIX}*{_OLD}"):
        target = old.with_name(old.name.removesuffix(_OLD))
        with suppress(OSError):
            if target.exists():
                remove_tree(old, disk)
            else:
                disk.rename(old, target)
    for folder in root.glob(f".{_PREFIX}*.tmp"):
        with suppress(OSError):
            remove_tree(folder, disk)
