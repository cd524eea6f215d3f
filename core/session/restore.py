"""Restore a training job from a checkpoint: to resume a run, or to roll back one that diverged."""

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
    """The step that was restored, None for the start of the run; why each newer checkpoint was skipped."""

    step: int | None
    passed_over: tuple[str, ...] = ()


def restore_newest(job: TrainingJob, root: Path, max_step: int | None = None) -> Restored:
    """Load the newest checkpoint that is valid and finite, up to step `max_step`.

    Raises:
        CheckpointError: checkpoints are valid but of other settings; the job must not be used then.
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
            passed_over.append(f"checkpoint {place.name} was skipped: {error.message}")
    if touched:
        raise CheckpointError(f"no checkpoint of run {root.parent.name} matches its settings", "start a new run")
    return Restored(None, tuple(passed_over))


def _load_into(job: TrainingJob, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    try:
        restore(job, tensors, state)
    except torch.OutOfMemoryError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"it does not match the run's settings ({error})", "start a new run") from None


def roll_back(job: TrainingJob, root: Path, error: DivergedError, disk: Disk) -> RolledBack:
    """Go back to the start of the epoch, with half the learning rate, as often as the settings allow.

    A later checkpoint, made by a stop within the epoch, is not used: the run would differ from an uninterrupted one.

    Raises:
        DivergedError: the settings do not allow it (any more), or no checkpoint is valid.
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
