"""The weights that a run starts from: pretrained ones of a library, those of a file, or those of another run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ExperimentConfig
from ..data.image_spec import Progress
from ..errors import InputError
from ..models import LibraryOptions, is_file_name, library_weights
from ..models.weights import Source, fetch, load_weights, read_weights
from ..runs.best_weights import best_weights


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run's first weights came from: a run's id, a file or a library's name; their SHA-256; what is random."""

    kind: str
    name: str
    sha256: str
    reinitialized: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The origin in JSON's types."""
        return asdict(self)


def source_of(config: ExperimentConfig) -> Source | None:
    """The library's weights that a config starts from; None for others."""
    model = config.model
    named = isinstance(model, LibraryOptions) and model.weights != "none" and not is_file_name(model.weights)
    return library_weights(model) if named and not config.training.start_from else None


def fetch_weights(config: ExperimentConfig) -> Iterator[Progress]:
    """Download a library's weights where they are missing; raises DataError."""
    if source := source_of(config):
        yield from fetch(source, config.data.download)


def start_from_weights(model: nn.Module, config: ExperimentConfig) -> Origin | None:
    """Load the weights that a config starts from into its model; None where they are random.

    Raises:
        InputError: they cannot be read, or do not fit the model.
        CheckpointError: the run to start from has no valid checkpoint.
    """
    given = config.training.start_from or getattr(config.model, "weights", "none")
    if given == "none":
        return None
    if source := source_of(config):
        kind, name, tensors = "library", f"{source.network} {source.path.name}", read_weights(source.path)
    elif is_file_name(given):
        kind, name, tensors = "file", given, read_weights(Path(given).expanduser())
    else:
        kind, name, tensors = "run", Path(given).name, _of_run(Path(given).expanduser())
    return Origin(kind, name, digest_of(tensors), load_weights(model, tensors, name))


def _of_run(folder: Path) -> dict[str, Tensor]:
    if not folder.is_dir():
        raise InputError(
            f"there is no run {folder.name} to start from in {folder.parent}",
            "name a run with --from, or give a .safetensors or .pt file",
        )
    return best_weights(folder).tensors


def digest_of(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values of tensors, as hex."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
