"""What a training leaves on disk beside its log: checkpoints, and the analysis of its best epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core import checkpoint
from core.analysis import save_analysis
from core.divergence import check_losses, check_tensors
from core.errors import DiskError
from core.events import CheckpointSaved, EpochCompleted, RunEvent, WarningRaised
from core.files import Disk, in_words
from core.job import Job, state_of
from core.recorder import RETRY_EVERY, Recorder, tries


@dataclass(frozen=True, slots=True)
class Saver:
    """Saves what one training comes to; a disk that refuses is a warning, and what was there before still stands.

    Numbers that are not finite are not worth saving: they raise DivergedError.
    """

    job: Job
    recorder: Recorder
    folder: Path
    disk: Disk

    def epoch(self, event: EpochCompleted) -> Iterator[RunEvent]:
        """Save what an epoch ended with."""
        if event.best and self.job.predictions:
            try:
                save_analysis(self.folder, self.job.model, self.job.predictions, event.epoch, self.disk)
            except OSError as error:
                yield self._warning(f"the predictions of epoch {event.epoch} could not be written", error)
        yield from self.now(best=event.best)

    def now(self, *, best: bool = False) -> Iterator[RunEvent]:
        """Save a checkpoint of this moment."""
        try:
            yield from self._save(best)
        except OSError as error:
            yield self._warning(f"the checkpoint of step {self.job.position.step} could not be written", error)

    def last(self, *, completed: bool) -> Iterator[RunEvent]:
        """Make sure that what training came to is on disk; a disk that refuses is asked again for a while.

        Raises:
            DiskError: it did not take it in the end.
        """
        step, best, refusal = self.job.position.step, self.recorder.record.best, ""
        for number in range(tries(completed)):
            try:
                yield from self._save(best is not None and best.step == step and not self._known(step))
                return
            except OSError as error:
                refusal = in_words(error)
                if not number:
                    yield self._warning(f"the last checkpoint, of step {step}, is tried again for a while", error)
            self.recorder.wait(RETRY_EVERY)
        raise DiskError(
            f"the last checkpoint, of step {step}, could not be written ({refusal})",
            f"free space for {self.folder}, then go on with: torchdeck resume {self.folder.name}",
        )

    def _known(self, step: int) -> bool:
        """Whether the newest checkpoint is of this step, between two epochs."""
        known = self.recorder.record.checkpoints
        return bool(known) and known[-1].step == step and self.job.position.batch == 0

    def _save(self, best: bool) -> Iterator[RunEvent]:
        position = self.job.position
        if self._known(position.step) and not best:
            return
        # A run that goes on from a checkpoint must know how it came there: first the log, then the weights.
        if (writer := self.recorder.writer) and not writer.flush() and writer.refusal:
            raise writer.refusal
        root = self.folder / "checkpoints"
        tensors, state = state_of(self.job)
        if position.batch:
            # At an epoch's end they were looked at before it was told.
            check_losses(self.job.tally, self.job.tally.mean_loss(), position.step)
            check_tensors(tensors, position.step)
        saved = checkpoint.save(root, position.step, tensors, state, self.disk)
        told = CheckpointSaved(
            step=position.step, epoch=position.epoch - 1, best=best, manifest_sha256=saved.manifest_sha256
        )
        yield self.recorder(told)
        try:
            wanted = self.job.epoch_began, self.recorder.record.best_saved
            checkpoint.retain(root, position.step, *wanted, disk=self.disk)
        except OSError as error:
            yield self._warning("an old checkpoint could not be removed", error)

    def _warning(self, what: str, error: OSError) -> RunEvent:
        return self.recorder(WarningRaised(message=f"{what}: {in_words(error)}"))
