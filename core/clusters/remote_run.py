"""A run that trains on another machine: what its directory tells, and commands to it that are not lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..control import CommandName
from ..events import CommandApplied, RunCompleted, RunEvent, RunFailed, RunStarted
from ..runs.commands import write_command
from ..runs.layout import is_run
from ..runs.reader import EventReader, load_record, tail_reader

SIGNALLED = "signal "
"""What the reason of a run begins with that a signal stopped."""


class Watched:
    """What a run says from now on; a command is repeated until it is obeyed, for each attempt forgets old ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ending: RunCompleted | RunFailed | None = None
        """The end of its newest attempt; None while that lasts, or before there is one."""
        self.training = False
        """Whether an attempt began, and is not over."""
        self._reader: EventReader = tail_reader(folder)
        self.asked: tuple[CommandName, str] | None = None
        """The last command that it was sent, be it obeyed or not."""
        self._wanted: tuple[CommandName, str] | None = None

    @property
    def interrupted(self) -> bool:
        """Whether its last attempt was ended by a signal, with a checkpoint."""
        return by_signal(self.ending)

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to do of it: it completed, or failed."""
        return isinstance(self.ending, RunFailed) or (
            isinstance(self.ending, RunCompleted) and self.ending.status == "completed"
        )

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command, now and until it is obeyed."""
        self.asked = self._wanted = (command, reason)
        self.look()

    def look(self) -> None:
        """Read what is new, and leave the command again that no attempt took."""
        for event in self._reader.read():
            match event:
                case RunStarted():
                    self.ending, self.training = None, True
                case RunCompleted() | RunFailed():
                    self.ending, self.training = event, False
                case CommandApplied() if not event.reason.startswith(SIGNALLED):
                    self._wanted = None
                case _:
                    pass
        if self._wanted and is_run(self.folder) and not (self.folder / "control" / self._wanted[0]).exists():
            with suppress(OSError):
                write_command(self.folder, *self._wanted)


def ended_by_itself(folder: Path) -> bool:
    """Whether a run's newest attempt is over, and not for a signal: a job that still stands for it is about to end."""
    ending = load_record(folder).ending if is_run(folder) else None
    return ending is not None and not by_signal(ending)


def by_signal(ending: RunEvent | None) -> bool:
    """Whether a signal ended an attempt, with a checkpoint."""
    return isinstance(ending, RunCompleted) and ending.status == "stopped" and ending.reason.startswith(SIGNALLED)
