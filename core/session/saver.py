"""Save checkpoints, and the predictions of the best epoch, while a run trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import DiskError
from ..events import CheckpointSaved, EpochCompleted, RunEvent, WarningRaised, from_json, to_json
from ..runs import checkpoint
from ..training.divergence import check_losses, check_tensors
from ..training.state import TrainingJob, state_of
from ..utils.files import Disk, disk_error_text
from .best_epoch_files import save_analysis
from .recorder import RETRY_SECONDS, Recorder, flush_attempts

Snapshot = tuple[dict[str, Tensor], dict[str, Any]]
"""The tensors of a job's state, and the rest of it in JSON's types."""


@dataclass(frozen=True, slots=True)
class Saver:
    """Saves the results of one training; a disk error is a warning and leaves what was saved before intact.

    Values that are not finite raise DivergedError instead of being saved. With several ranks all call the methods
    together; the leader saves, and all know what it saved.
    """

    job: TrainingJob
    recorder: Recorder
    folder: Path
    """The run folder at the start of the attempt."""
    disk: Disk

    @property
    def home(self) -> Path:
        """The run folder now, as far as this rank knows."""
        return self.recorder.writer.folder if self.recorder.writer else self.folder

    def save_epoch(self, event: EpochCompleted) -> Iterator[RunEvent]:
        """Save a checkpoint at the end of an epoch, and the predictions of one that is the best so far."""
        if event.best and self.job.predictions and self.job.ranks.is_leader:
            try:
                kept = self.job.predictions, self.job.test_names
                save_analysis(self.home, self.job.model, *kept, event.epoch, self.disk)
            except OSError as error:
                yield self._warning(f"the predictions of epoch {event.epoch} could not be written", error)
        yield from self.save_now(best=event.best)

    def save_now(self, *, best: bool = False) -> Iterator[RunEvent]:
        """Save a checkpoint of the current step."""
        if snapshot := self._snapshot(best):
            saved, refusal = self._try_to_save(snapshot, best)
            yield from self._announce(saved)
            if refusal:
                yield self._warning(f"the checkpoint of step {self.job.position.step} could not be written", refusal)

    def save_last(self, *, completed: bool) -> Iterator[RunEvent]:
        """Save the last checkpoint of an attempt, with retries where the disk reports errors.

        Raises:
            DiskError: it could not be written in the end.
        """
        step, known = self.job.position.step, self.recorder.record.best
        best = known is not None and known.step == step and not self._is_saved(step)
        snapshot = self._snapshot(best)
        if snapshot is None:
            return
        saved, refusal = self._try_to_save(snapshot, best)
        for number in range(flush_attempts(completed)):
            if refusal is None:
                break
            if not number:
                yield self._warning(
                    f"the last checkpoint, of step {step}, could not be written yet and is tried again", refusal
                )
            self.recorder.wait(RETRY_SECONDS)
            saved, refusal = self._try_to_save(snapshot, best)
        if refusal:
            raise DiskError(
                f"the last checkpoint, of step {step}, could not be written ({disk_error_text(refusal)})",
                f"free space for {self.home}, then resume with: torchdeck resume {self.home.name}",
            )
        yield from self._announce(saved)

    def _is_saved(self, step: int) -> bool:
        """Whether the newest checkpoint is of this step, between two epochs; all ranks get the leader's answer."""
        known = self.recorder.record.checkpoints
        return self.job.ranks.broadcast(bool(known) and known[-1].step == step and self.job.position.batch == 0)

    def _snapshot(self, best: bool) -> Snapshot | None:
        """The state at the current step; None where a checkpoint has it already."""
        position = self.job.position
        if self._is_saved(position.step) and not best:
            return None
        tensors, state = state_of(self.job)
        if position.batch:
            # At the end of an epoch these checks come before its event.
            check_losses(self.job.tally, self.job.tally.figures().mean_loss, position.step)
            check_tensors(tensors, position.step)
        return tensors, state

    def _try_to_save(self, snapshot: Snapshot, best: bool) -> tuple[CheckpointSaved | None, OSError | None]:
        """Write a checkpoint on the leader; returns its event, or the disk error."""
        if not self.job.ranks.is_leader:
            return None, None
        try:
            return self._save(snapshot, best), None
        except OSError as error:
            return None, error

    def _save(self, snapshot: Snapshot, best: bool) -> CheckpointSaved:
        # A resumed run must know how it came to its checkpoint: write the log first, then the weights.
        if writer := self.recorder.writer:
            writer.check_folder()
            if not writer.flush() and writer.refusal:
                raise writer.refusal
        position = self.job.position
        saved = checkpoint.save(self.home / "checkpoints", position.step, *snapshot, self.disk)
        return CheckpointSaved(
            step=position.step, epoch=position.epoch - 1, best=best, manifest_sha256=saved.manifest_sha256
        )

    def _announce(self, saved: CheckpointSaved | None) -> Iterator[RunEvent]:
        """Report a checkpoint on all ranks, then delete those that it supersedes."""
        agreed = self.job.ranks.broadcast(to_json(saved) if saved else None)
        event = from_json(agreed) if agreed else None
        if event is None:
            return
        yield self.recorder(event)
        if not self.job.ranks.is_leader:
            return
        try:
            wanted = self.job.epoch_start_step, self.recorder.record.best_saved
            checkpoint.delete_old(self.home / "checkpoints", self.job.position.step, *wanted, disk=self.disk)
        except OSError as error:
            yield self._warning("an old checkpoint could not be removed", error)

    def _warning(self, what: str, error: OSError) -> RunEvent:
        return self.recorder(WarningRaised(message=f"{what}: {disk_error_text(error)}"))
