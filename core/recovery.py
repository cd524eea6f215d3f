"""Going back to a checkpoint: to resume a run, or to leave behind what diverged."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from core import checkpoint
from core.divergence import MOST_ROLL_BACKS, check_tensors
from core.errors import DivergedError, TorchdeckError
from core.events import RolledBack
from core.files import Disk
from core.job import Job, restore


def restore_newest(job: Job, root: Path, most: int | None = None) -> int | None:
    """Put the job at the newest checkpoint that verifies and is finite, of step `most` at most; its step, or None."""
    for place in checkpoint.newest(root):
        if most is not None and checkpoint.step_of(place) > most:
            continue
        with suppress(TorchdeckError):
            tensors, state = checkpoint.load(place)
            check_tensors(tensors, 0)
            restore(job, tensors, state)
            return job.position.step
    return None


def roll_back(job: Job, root: Path, error: DivergedError, disk: Disk) -> RolledBack:
    """Go back to where the epoch began, with half the learning rate, as often as the settings allow.

    Not to a later checkpoint: one that a stop within the epoch made would be another way than the uninterrupted run's.

    Raises:
        DivergedError: they allow it no longer, or no checkpoint verifies.
    """
    kept = next((f"checkpoint {place.name} is kept" for place in checkpoint.newest(root)), "there is no checkpoint yet")
    ended = DivergedError(f"{error.message}; {kept}", error.mend)
    step, roll_backs = job.position.step, job.position.roll_backs
    if job.plan.config.training.on_divergence == "stop" or roll_backs >= MOST_ROLL_BACKS:
        raise ended
    to_step = restore_newest(job, root, job.epoch_began)
    if to_step is None:
        raise ended
    checkpoint.forget_beyond(root, to_step, disk)
    job.position.roll_backs = roll_backs + 1
    return RolledBack(step=step, to_step=to_step, lr_factor=job.position.lr_factor, reason=error.message)
