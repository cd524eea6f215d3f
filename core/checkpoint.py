"""Checkpoints: a folder a step, staged aside, its manifest with SHA-256 written last; tensors and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from core.errors import CheckpointError
from core.files import read_json, sync_folder, to_json_bytes, write_new

SCHEMA = 1
KEPT = 2
_PREFIX = "step-"


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint on disk."""

    folder: Path
    step: int
    manifest_sha256: str


def save(root: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Saved:
    """Write a checkpoint of `step`; it appears whole or not at all.

    Raises:
        OSError: the disk would not take it; what was there before still stands.
    """
    root.mkdir(exist_ok=True)
    sweep(root)
    target, staging = root / f"{_PREFIX}{step:08d}", root / f".{_PREFIX}{step:08d}.tmp"
    staging.mkdir()
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    model = {name.removeprefix("model."): flat.pop(name) for name in list(flat) if name.startswith("model.")}
    contents = {
        "model.safetensors": safetensors.torch.save(model),
        "state.safetensors": safetensors.torch.save(flat),
        "state.json": to_json_bytes(state),
    }
    for name, content in contents.items():
        write_new(staging / name, content)
    manifest = to_json_bytes({"schema": SCHEMA, "step": step, "files": {n: _entry(c) for n, c in contents.items()}})
    write_new(staging / "manifest.json", manifest)
    sync_folder(staging)
    if target.exists():
        shutil.rmtree(target)
    os.rename(staging, target)
    sync_folder(root)
    return Saved(target, step, hashlib.sha256(manifest).hexdigest())


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint, every byte checked against its manifest.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or of a newer form.
    """
    contents = _verified(folder)
    model = safetensors.torch.load(contents["model.safetensors"])
    state = safetensors.torch.load(contents["state.safetensors"])
    tensors = {**{f"model.{name}": tensor for name, tensor in model.items()}, **state}
    return tensors, json.loads(contents["state.json"])


def load_model(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, checked like `load`."""
    return safetensors.torch.load(_verified(folder)["model.safetensors"])


def _verified(folder: Path) -> dict[str, bytes]:
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict) or "files" not in manifest:
        raise CheckpointError(f"{folder} has no readable manifest", "use an earlier checkpoint")
    if manifest.get("schema") != SCHEMA:
        raise CheckpointError(f"{folder} was written by a newer Torchdeck", "update Torchdeck")
    contents: dict[str, bytes] = {}
    for name in ("model.safetensors", "state.safetensors", "state.json"):
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{folder / name} cannot be read ({error.strerror})") from None
        if _entry(contents[name]) != manifest["files"].get(name):
            raise CheckpointError(f"{folder / name} is damaged: its checksum differs", "use an earlier checkpoint")
    return contents


def newest(root: Path) -> Iterator[Path]:
    """The checkpoint folders, the highest step first; nothing is verified."""
    if root.is_dir():
        yield from sorted((path for path in root.iterdir() if path.name.startswith(_PREFIX)), reverse=True)


def folder_of(root: Path, step: int) -> Path:
    """Where the checkpoint of a step stands."""
    return root / f"{_PREFIX}{step:08d}"


def retain(root: Path, best_step: int | None) -> None:
    """Delete all but the newest few and the best.

    Raises:
        OSError: one could not be deleted.
    """
    for folder in list(newest(root))[KEPT:]:
        if best_step is None or folder != folder_of(root, best_step):
            shutil.rmtree(folder)


def sweep(root: Path) -> None:
    """Delete what an interrupted save left behind."""
    for folder in root.glob(f".{_PREFIX}*.tmp"):
        shutil.rmtree(folder, ignore_errors=True)
