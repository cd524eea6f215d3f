"""The best weights that the checkpoints of a run hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError, TorchdeckError
from . import checkpoint
from .reader import load_record


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights by name, the step that they are of, and why better checkpoints were skipped."""

    tensors: dict[str, Tensor]
    step: int
    passed_over: tuple[str, ...] = ()


def best_weights(folder: Path) -> Weights:
    """The weights of the best epoch, else of the newest valid checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    root, record = folder / "checkpoints", load_record(folder)
    best, missed = record.best_saved, record.instead_of_best(record.weights_epoch)
    places = [checkpoint.folder_of(root, best)] if best is not None else []
    passed: dict[Path, str] = {}
    for place in [*places, *checkpoint.newest_first(root)]:
        try:
            tensors = checkpoint.load_model(place)
            return Weights(tensors, checkpoint.step_of(place), tuple(passed.values() or filter(None, [missed])))
        except TorchdeckError as error:
            passed[place] = f"checkpoint {place.name} was skipped: {error.message}"
    raise CheckpointError(f"run {folder.name} has no valid checkpoint", "train it again, or resume it")
