"""Save checkpoints, and the predictions of the best epoch, while a run trains."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import DiskError
from ..events import CheckpointSaved, EpochCompleted, RunEvent, WarningRaised, from_json, to_json
from ..runs import checkpoint
from ..training.divergence import check_losses, check_tensors
from ..training.host_copy import on_host
from ..training.state import TrainingJob, state_of
from ..utils.files import Disk, disk_error_text, write_atomically
from .best_epoch_files import analysis_of
from .out_of_memory import is_out_of_memory
from .recorder import RETRY_SECONDS, Recorder, flush_attempts

Snapshot = tuple[dict[str, Tensor], dict[str, Any]]
"""The tensors of a job's state, and the rest of it in JSON's types."""


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A checkpoint to be written: the state at a step, after `epoch` whole epochs."""

    step: int
    epoch: int
    best: bool
    snapshot: Snapshot

    def kept(self) -> Unsaved | None:
        """A copy that training does not change; None where there is no memory for it."""
        tensors, state = self.snapshot
        try:
            return replace(
                self, snapshot=({name: value.to("cpu", copy=True) for name, value in tensors.items()}, state)
            )
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                return None
            raise


@dataclass(slots=True)
class Saver:
    """Saves the results of one training; a disk error is a warning and leaves what was saved before intact.

    A best epoch that could not be saved stays in memory and is tried again at the next save. Values that are not finite
    raise DivergedError instead of being saved. With several ranks all call the methods together; the leader saves, and
    all know what it saved.
    """

    job: TrainingJob
    recorder: Recorder
    folder: Path
    """The run folder at the start of the attempt."""
    disk: Disk
    best: Unsaved | None = None
    """The state of the best epoch, until it is saved."""
    analysis: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """The contents of the best epoch's files, by name."""
    written: set[str] = field(default_factory=set[str])
    """The names of those that are on disk."""

    @property
    def home(self) -> Path:
        """The run folder now, as far as this rank knows."""
        return self.recorder.writer.folder if self.recorder.writer else self.folder

    def save_epoch(self, event: EpochCompleted) -> Iterator[RunEvent]:
        """Save a checkpoint at the end of an epoch, and the predictions of one that is the best so far."""
        if event.best and self.job.predictions and self.job.ranks.is_leader:
            kept = self.job.predictions, self.job.test_names
            self.analysis = analysis_of(self.job.model, *kept, event.epoch)
            self.written.clear()
            if refusal := self._write_analysis():
                yield self._warning(f"the predictions of epoch {event.epoch} could not be written", refusal)
        yield from self.save_now(best=event.best)

    def save_now(self, *, best: bool = False) -> Iterator[RunEvent]:
        """Save a checkpoint of the current step, and a best epoch that could not be saved before."""
        current = self._current(best)
        saved, refusal = self._write(current)
        yield from self._announce(saved)
        if refusal and current:
            yield self._warning(f"the checkpoint of step {current.step} could not be written", refusal)

    def save_last(self, *, completed: bool) -> Iterator[RunEvent]:
        """Save the last checkpoint of an attempt, with retries where the disk reports errors.

        Raises:
            DiskError: it could not be written in the end.
        """
        step, known = self.job.position.step, self.recorder.record.best
        current = self._current(known is not None and known.step == step and not self._is_saved(step))
        saved, refusal = self._write(current)
        for number in range(flush_attempts(completed)):
            if not refusal and not self.best:
                break
            if not number and refusal:
                yield self._warning(
                    f"the last checkpoint, of step {step}, could not be written yet and is tried again", refusal
                )
            self.recorder.wait(RETRY_SECONDS)
            again, refusal = self._write(current if refusal else None)
            saved += again
        if refusal:
            raise DiskError(
                f"the last checkpoint, of step {step}, could not be written ({disk_error_text(refusal)})",
                f"free space for {self.home}, then resume with: torchdeck resume {self.home.name}",
            )
        yield from self._announce(saved)
        if self.best:
            message = f"the weights of the best epoch, {self.best.epoch}, could not be written and are lost"
            yield self.recorder(WarningRaised(message=message))

    def forget_beyond(self, step: int) -> None:
        """Forget an unsaved best epoch that a roll-back undid."""
        if self.best and self.best.step > step:
            self.best = None

    def _is_saved(self, step: int) -> bool:
        """Whether the newest checkpoint is of this step, between two epochs; all ranks get the leader's answer."""
        known = self.recorder.record.checkpoints
        return self.job.ranks.broadcast(bool(known) and known[-1].step == step and self.job.position.batch == 0)

    def _current(self, best: bool) -> Unsaved | None:
        """The state at the current step; None where a checkpoint has it already."""
        position = self.job.position
        if self._is_saved(position.step) and not best:
            return None
        tensors, state = state_of(self.job)
        if position.batch:
            # At the end of an epoch these checks come before its event.
            check_losses(self.job.tally, self.job.tally.figures().mean_loss, position.step)
            check_tensors(tensors, position.step)
        if self.job.ranks.is_leader:
            tensors = dict(zip(tensors, on_host(tensors.values()), strict=True))
        return Unsaved(position.step, position.epoch - 1, best, (tensors, state))

    def _write(self, current: Unsaved | None) -> tuple[list[CheckpointSaved], OSError | None]:
        """Write an unsaved best epoch, then the current state, on the leader.

        Returns:
            the events of what was saved, and the disk error of the current state.
        """
        if not self.job.ranks.is_leader:
            return [], None
        self._write_analysis()
        earlier = None if current and current.best else self.best
        saved: list[CheckpointSaved] = []
        refusals: dict[int, OSError] = {}
        for state in filter(None, (earlier, current)):
            try:
                saved.append(self._save(state))
            except OSError as error:
                refusals[state.step] = error
        if earlier and earlier.step not in refusals:
            self.best = None
        if current and current.best:
            self.best = current.kept() if current.step in refusals else None
        return saved, refusals.get(current.step) if current else None

    def _write_analysis(self) -> OSError | None:
        """Write the best epoch's files that are not on disk yet; returns the disk error."""
        refusal = None
        for name, content in self.analysis.items():
            if name not in self.written or not os.path.lexists(self.home / name):
                try:
                    write_atomically(self.home / name, content, disk=self.disk)
                    self.written.add(name)
                except OSError as error:
                    refusal = error
        return refusal

    def _save(self, state: Unsaved) -> CheckpointSaved:
        # A resumed run must know how it came to its checkpoint: write the log first, then the weights.
        if writer := self.recorder.writer:
            writer.check_folder()
            if not writer.flush() and writer.refusal:
                raise writer.refusal
        saved = checkpoint.save(self.home / "checkpoints", state.step, *state.snapshot, self.disk)
        return CheckpointSaved(
            step=state.step, epoch=state.epoch, best=state.best, manifest_sha256=saved.manifest_sha256
        )

    def _announce(self, saved: list[CheckpointSaved]) -> Iterator[RunEvent]:
        """Report checkpoints on all ranks, then delete those that they supersede."""
        agreed = self.job.ranks.broadcast([to_json(event) for event in saved])
        for content in agreed:
            if event := from_json(content):
                yield self.recorder(event)
        if not agreed or not self.job.ranks.is_leader:
            return
        try:
            wanted = self.job.epoch_start_step, self.recorder.record.best_saved
            checkpoint.delete_old(self.home / "checkpoints", self.job.position.step, *wanted, disk=self.disk)
        except OSError as error:
            yield self._warning("an old checkpoint could not be removed", error)

    def _warning(self, what: str, error: OSError) -> RunEvent:
        return self.recorder(WarningRaised(message=f"{what}: {disk_error_text(error)}"))
