"""What a training leaves on disk beside its log: checkpoints, and the analysis of its best epoch."""

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
"""The tensors and the rest of a job's state."""


@dataclass(frozen=True, slots=True)
class Saver:
    """Saves what one training comes to; a disk that refuses is a warning, and what was there before still stands.

    Numbers that are not finite are not worth saving: they raise DivergedError. Of several ranks the leader saves what
    all of them are asked for together, and all keep in mind what it saved.
    """

    job: TrainingJob
    recorder: Recorder
    folder: Path
    """Where the run was at the start of the attempt."""
    disk: Disk

    @property
    def home(self) -> Path:
        """Where the run is now, as far as this rank knows."""
        return self.recorder.writer.folder if self.recorder.writer else self.folder

    def save_epoch(self, event: EpochCompleted) -> Iterator[RunEvent]:
        """Save what an epoch ended with."""
        if event.best and self.job.predictions and self.job.ranks.is_leader:
            try:
                kept = self.job.predictions, self.job.test_names
                save_analysis(self.home, self.job.model, *kept, event.epoch, self.disk)
            except OSError as error:
                yield self._warning(f"the predictions of epoch {event.epoch} could not be written", error)
        yield from self.save_now(best=event.best)

    def save_now(self, *, best: bool = False) -> Iterator[RunEvent]:
        """Save a checkpoint of this moment."""
        if snapshot := self._snapshot(best):
            saved, refusal = self._try_to_save(snapshot, best)
            yield from self._announce(saved)
            if refusal:
                yield self._warning(f"the checkpoint of step {self.job.position.step} could not be written", refusal)

    def save_last(self, *, completed: bool) -> Iterator[RunEvent]:
        """Make sure that what training came to is on disk; a disk that refuses is asked again for a while.

        Raises:
            DiskError: it did not take it in the end.
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
                yield self._warning(f"the last checkpoint, of step {step}, is tried again for a while", refusal)
            self.recorder.wait(RETRY_SECONDS)
            saved, refusal = self._try_to_save(snapshot, best)
        if refusal:
            raise DiskError(
                f"the last checkpoint, of step {step}, could not be written ({disk_error_text(refusal)})",
                f"free space for {self.home}, then go on with: torchdeck resume {self.home.name}",
            )
        yield from self._announce(saved)

    def _is_saved(self, step: int) -> bool:
        """Whether the newest checkpoint is of this step, between two epochs, as the leader knows; all ranks ask."""
        known = self.recorder.record.checkpoints
        return self.job.ranks.broadcast(bool(known) and known[-1].step == step and self.job.position.batch == 0)

    def _snapshot(self, best: bool) -> Snapshot | None:
        """The state of this moment; None where a checkpoint has it."""
        position = self.job.position
        if self._is_saved(position.step) and not best:
            return None
        tensors, state = state_of(self.job)
        if position.batch:
            # At an epoch's end they were looked at before it was told.
            check_losses(self.job.tally, self.job.tally.figures().mean_loss, position.step)
            check_tensors(tensors, position.step)
        return tensors, state

    def _try_to_save(self, snapshot: Snapshot, best: bool) -> tuple[CheckpointSaved | None, OSError | None]:
        """Write a checkpoint; what was saved, or why the disk refused it. Only the leader writes."""
        if not self.job.ranks.is_leader:
            return None, None
        try:
            return self._save(snapshot, best), None
        except OSError as error:
            return None, error

    def _save(self, snapshot: Snapshot, best: bool) -> CheckpointSaved:
        # A run that goes on from a checkpoint must know how it came there: first the log, then the weights.
        if writer := self.recorder.writer:
            writer.look()
            if not writer.flush() and writer.refusal:
                raise writer.refusal
        position = self.job.position
        saved = checkpoint.save(self.home / "checkpoints", position.step, *snapshot, self.disk)
        return CheckpointSaved(
            step=position.step, epoch=position.epoch - 1, best=best, manifest_sha256=saved.manifest_sha256
        )

    def _announce(self, saved: CheckpointSaved | None) -> Iterator[RunEvent]:
        """Tell of a checkpoint, on all ranks; then those that it makes needless go."""
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
