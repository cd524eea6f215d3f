"""What a person can mend, as exceptions whose message names the mend.

TorchdeckError            what went wrong, and what to do about it
├── InputError            the request cannot be met as asked: exit code 2
│   ├── ConfigError       one or more settings are wrong; all of them are named
│   ├── DataError         a data set is missing, damaged or of the wrong form
│   └── LogsError         a run or the logs folder cannot be found, read or written
├── BusyError             another process or thread holds the run: exit code 3
└── RunError              a run that had started cannot go on: exit code 1
    ├── DivergedError     the loss or the weights are no longer finite
    ├── DiskError         the disk would not take what the run came to
    └── CheckpointError   a checkpoint is missing, damaged or not ours
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class TorchdeckError(Exception):
    """Root of the errors a person can mend."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InputError(TorchdeckError):
    """The request cannot be met as asked."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong setting: its dotted path (empty for the whole), and what is wrong with it."""

    path: str
    message: str


class ConfigError(InputError):
    """One or more settings are wrong."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{fault.path}: {fault.message}".removeprefix(": ") for fault in self.faults))


class DataError(InputError):
    """A data set is missing, damaged or of the wrong form."""


class LogsError(InputError):
    """A run or the logs folder cannot be found, read or written."""


class BusyError(TorchdeckError):
    """Another process or thread holds what this one asked for."""

    exit_code = 3


class RunError(TorchdeckError):
    """A run that had started cannot go on."""


class DivergedError(RunError):
    """The loss or the weights are no longer finite."""


class DiskError(RunError):
    """The disk would not take what the run came to."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged or not of this program."""


MAX_WORD_LENGTH = 200
"""Characters of a word that may be a mistyped one; to compare a longer one takes long."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A phrase that names the choice a mistyped word most likely meant, else all of them."""
    known = list(choices)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5) if len(word) <= MAX_WORD_LENGTH else []
    return f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(known)}"
