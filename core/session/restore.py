"""Going back to a checkpoint: to resume a run, or to leave behind what diverged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, DivergedError, TorchdeckError
from ..events import RolledBack
from ..runs import checkpoint
from ..training.divergence import MAX_ROLL_BACKS, check_tensors
from ..training.state import TrainingJob, restore
from ..utils.files import Disk


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a job was put, None where it was left at the start; why each newer checkpoint was passed over."""

    step: int | None
    passed_over: tuple[str, ...] = ()


def restore_newest(job: TrainingJob, root: Path, max_step: int | None = None) -> Restored:
    """Put the job at the newest checkpoint that verifies and is finite, of step `most` at most.

    Raises:
        CheckpointError: one verifies that is not of these settings, and no older one is; the job is of no use then.
    """
    passed_over: list[str] = []
    touched = False
    for place in checkpoint.newest_first(root):
        if max_step is not None and checkpoint.step_of(place) > max_step:
            continue
        try:
            tensors, state = checkpoint.load(place)
            check_tensors(tensors, 0)
            touched = True
            _load_into(job, tensors, state)
            return Restored(job.position.step, tuple(passed_over))
        except TorchdeckError as error:
            passed_over.append(f"checkpoint {place.name} was passed over: {error.message}")
    if touched:
        raise CheckpointError(f"no checkpoint of run {root.parent.name} is of its settings", "start a new run")
    return Restored(None, tuple(passed_over))


def _load_into(job: TrainingJob, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    try:
        restore(job, tensors, state)
    except torch.OutOfMemoryError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"it is not of the run's settings ({error})", "start a new run") from None


def roll_back(job: TrainingJob, root: Path, error: DivergedError, disk: Disk) -> RolledBack:
    """Go back to where the epoch began, with half the learning rate, as often as the settings allow.

    Not to a later checkpoint: one that a stop within the epoch made would be another way than the uninterrupted run's.

    Raises:
        DivergedError: they allow it no longer, or no checkpoint verifies.
    """
    kept = next(
        (f"checkpoint {place.name} is kept" for place in checkpoint.newest_first(root)), "there is no checkpoint yet"
    )
    ended = DivergedError(f"{error.message}; {kept}", error.hint)
    step, roll_backs = job.position.step, job.position.roll_backs
    if job.plan.config.training.on_divergence == "stop" or roll_backs >= MAX_ROLL_BACKS:
        raise ended
    to_step = restore_newest(job, root, job.epoch_start_step).step
    if to_step is None:
        raise ended
    if job.ranks.is_leader:
        checkpoint.delete_beyond(root, to_step, disk)
    job.position.roll_backs = roll_backs + 1
    return RolledBack(step=step, to_step=to_step, lr_factor=job.position.lr_factor, reason=error.message)
