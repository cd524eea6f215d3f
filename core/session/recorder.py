"""Record the events of a run: stamp each, fold it into the record, write it to the log, refresh the caches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from ..events import (
    CommandApplied,
    EpochCompleted,
    EventsHeld,
    EventsReleased,
    Failure,
    FolderChanged,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    WarningRaised,
    stamp,
)
from ..runs import checkpoint
from ..runs.reader import write_caches
from ..runs.record import RunRecord
from ..runs.run_files import Change
from ..runs.writer import RunWriter
from ..training.plan import Plan

CURVES_SECONDS = 30.0
RETRY_SECONDS = 1.0
"""Seconds between two attempts to write the rest of a run whose disk reports errors."""


def flush_attempts(completed: bool) -> int:
    """How often writing is tried at a run's end: more often for a finished run than for one that is to stop."""
    return 60 if completed else 10


@dataclass(slots=True)
class Recorder:
    """Stamps each event, folds it into the record, and writes it to the log once the run has a folder."""

    now: Callable[[], float]
    wait: Callable[[float], object]
    record: RunRecord = field(default_factory=RunRecord)
    attempt: int = 1
    writer: RunWriter | None = None
    silent: bool = False
    """Set on ranks that do not lead: their events are folded but not written."""
    failed: Failure | None = None
    """The failure of a rank, which the agent records instead."""
    before_directory: list[RunEvent] = field(default_factory=list[RunEvent])
    """Events from before the run had its folder."""
    curves_written: float = 0.0
    plan: Plan | None = None
    """The plan, once it is made."""

    def __call__(self, event: RunEvent) -> RunEvent:
        """Record an event; returns it as the log has it."""
        stamped = stamp(event, seq=self.record.next_seq, t=self.now(), attempt=self.attempt)
        if self.writer is None:
            self.before_directory += [] if self.silent else [stamped]
        else:
            self.writer.append(stamped)
            if isinstance(stamped, RunCompleted | RunFailed):
                stamped = self._write_ending(self.writer, stamped)
        self.record.apply(stamped)
        if isinstance(stamped, EpochCompleted | RunStarted | CommandApplied):
            # Absolute, so that a clock that is set back does not delay the cache.
            self._write_caches(abs(stamped.t - self.curves_written) >= CURVES_SECONDS)
        return stamped

    def attach(self, writer: RunWriter) -> None:
        """Write to a run folder from now on, starting with the events so far."""
        self.writer, early, self.before_directory = writer, self.before_directory, []
        for event in early:
            writer.append(event)

    def check_folder(self) -> None:
        """Check that the run folder is still in place and repair it; callable from any thread."""
        if writer := self.writer:
            writer.check_folder()

    def with_disk_events(self, events: Generator[RunEvent]) -> Iterator[RunEvent]:
        """The events of a run, with events about the disk and the run folder between them."""
        with closing(events):
            for event in events:
                yield event
                yield from self.disk_events()

    def disk_events(self) -> Iterator[RunEvent]:
        """Events about the disk: the folder was renamed or created again, or events wait in memory or no longer do."""
        writer, held = self.writer, self.record.held
        if writer is None or self.record.ending:
            return
        while writer.changes:
            yield from self._changed(writer, writer.changes.popleft())
        if writer.problem and not held:
            yield self(EventsHeld(since=_first_held(writer, self.record.next_seq), reason=writer.problem))
        elif held and not writer.problem:
            dropped, writer.dropped = writer.dropped, 0
            yield self(EventsReleased(count=self.record.waiting - dropped, dropped=dropped))

    def _changed(self, writer: RunWriter, change: Change) -> Iterator[RunEvent]:
        yield self(FolderChanged(run_id=writer.folder.name, checkpoints=checkpoint.steps(writer.checkpoints)))
        if change == "renamed":
            yield self(WarningRaised(message=f"the run folder was renamed: the run continues as {writer.folder.name}"))
            return
        lost = "its log and run.json are complete, whatever else was removed is lost"
        yield self(WarningRaised(message=f"files of the run were removed while it trained: {lost}"))
        writer.unsaved = True

    def _write_ending(self, writer: RunWriter, event: RunCompleted | RunFailed) -> RunEvent:
        """Write the last event; where that fails after all attempts, it becomes a failure that says what is missing."""
        for _ in range(flush_attempts(isinstance(event, RunCompleted) and event.status == "completed")):
            if writer.flush():
                return event
            self.wait(RETRY_SECONDS)
        if writer.flush():
            return event
        failed = RunFailed(seq=event.seq, t=event.t, attempt=event.attempt, error=_unwritten_failure(writer, event))
        writer.replace_last(failed)
        return failed

    def close(self) -> None:
        """End the log properly, whatever happened, and release the lock."""
        if self.writer is None:
            return
        record = self.record
        try:
            if record.ending is None and not self.failed:
                self(RunCompleted(status="stopped", reason="abandoned", epoch=epochs_done(record), step=record.step,
                                  train_seconds=record.train_seconds))  # fmt: skip
            self.writer.flush()
            self._write_caches(True)
        finally:
            self.writer.close()
            self.writer = None

    def _write_caches(self, curves: bool) -> None:
        """Replace the caches, unless events wait in memory: caches must not know more than the log."""
        if self.writer is None or self.writer.unwritten:
            return
        if curves:
            self.curves_written = self.now()
        write_caches(self.writer.folder, self.record, curves=curves, disk=self.writer.disk)


def _first_held(writer: RunWriter, otherwise: int) -> int:
    return otherwise if writer.since is None else writer.since


def _unwritten_failure(writer: RunWriter, event: RunCompleted | RunFailed) -> Failure:
    """The failure of a run whose last events could not be written."""
    message = f"the last {writer.unwritten} events are not on disk ({writer.problem})"
    hint = f"free space for {writer.folder}, then resume with: torchdeck resume {writer.folder.name}"
    if isinstance(event, RunFailed):
        return replace(event.error, hint="\n".join(filter(None, (event.error.hint, f"{message}; {hint}"))))
    return Failure("disk", "DiskError", f"{message}, and neither is the record that the run was {event.status}", hint)


def epochs_done(record: RunRecord) -> int:
    """The number of complete epochs of a run."""
    return record.epochs[-1].epoch if record.epochs else 0
