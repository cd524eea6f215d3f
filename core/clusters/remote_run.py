"""Watch a run that trains on another machine through its folder, and send it commands that are not lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..control import CommandName
from ..events import CommandApplied, RunCompleted, RunEvent, RunFailed, RunStarted
from ..runs.commands import write_command
from ..runs.layout import is_run
from ..runs.reader import EventReader, load_record, tail_reader

SIGNALLED = "signal "
"""The reason of a run that a signal stopped starts with this."""


class RemoteRun:
    """Follows a run from now on; commands are repeated until they take effect: a new attempt deletes earlier ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ending: RunCompleted | RunFailed | None = None
        """The last event of its newest attempt; None during the attempt or before the first."""
        self.is_training = False
        """Whether an attempt is active."""
        self._reader: EventReader = tail_reader(folder)
        self.last_command: tuple[CommandName, str] | None = None
        """The last command that was sent, whether it took effect or not."""
        self._pending: tuple[CommandName, str] | None = None

    @property
    def was_interrupted(self) -> bool:
        """Whether a signal ended its last attempt, with a checkpoint."""
        return ended_by_signal(self.ending)

    @property
    def is_finished(self) -> bool:
        """Whether it completed or failed."""
        return isinstance(self.ending, RunFailed) or (
            isinstance(self.ending, RunCompleted) and self.ending.status == "completed"
        )

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command, now and until it takes effect."""
        self.last_command = self._pending = (command, reason)
        self.poll()

    def poll(self) -> None:
        """Read new events, and write the pending command again where it is gone without effect."""
        for event in self._reader.read():
            match event:
                case RunStarted():
                    self.ending, self.is_training = None, True
                case RunCompleted() | RunFailed():
                    self.ending, self.is_training = event, False
                case CommandApplied() if not event.reason.startswith(SIGNALLED):
                    self._pending = None
                case _:
                    pass
        if self._pending and is_run(self.folder) and not (self.folder / "control" / self._pending[0]).exists():
            with suppress(OSError):
                write_command(self.folder, *self._pending)


def ended_by_itself(folder: Path) -> bool:
    """Whether the newest attempt of a run has ended, but not by a signal: its job is about to end."""
    ending = load_record(folder).ending if is_run(folder) else None
    return ending is not None and not ended_by_signal(ending)


def ended_by_signal(ending: RunEvent | None) -> bool:
    """Whether a signal ended an attempt, with a checkpoint."""
    return isinstance(ending, RunCompleted) and ending.status == "stopped" and ending.reason.startswith(SIGNALLED)
