"""Exceptions for everything a user can fix: each says what went wrong and, as its hint, what to do about it.

TorchdeckError            what went wrong, and what to do about it
├── InputError            the request cannot be met: exit code 2
│   ├── ConfigError       one or more settings are wrong; the message names them all
│   ├── DataError         a data set is missing, damaged or in the wrong format
│   └── LogsError         a run or the logs folder cannot be found, read or written
├── BusyError             another process or thread holds the run: exit code 3
└── RunError              a run that had started cannot continue: exit code 1
    ├── DivergedError     the loss or the weights are no longer finite
    ├── DiskError         the results of the run could not be written to disk
    └── CheckpointError   a checkpoint is missing, damaged or from another program
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_QUOTED_LENGTH = 300
"""The longest text that a message quotes, in characters."""
_LONG = re.compile(rf"\S{{{MAX_QUOTED_LENGTH + 1},}}|(?<!\w)'[^'\n]{{{MAX_QUOTED_LENGTH},}}'")


def shortened(text: str) -> str:
    """The text without its middle where it is longer than `MAX_QUOTED_LENGTH`."""
    half = MAX_QUOTED_LENGTH // 2
    return text if len(text) <= MAX_QUOTED_LENGTH else f"{text[:half]}…{text[-half:]}"


class TorchdeckError(Exception):
    """Base of all errors that a user can fix; `hint` is what to do about it, "" where the message says it all."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # Whatever was refused may be quoted: a path or a number of any length.
        self.message, self.hint = (_LONG.sub(lambda found: shortened(found[0]), text) for text in (message, hint))
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InputError(TorchdeckError):
    """The request cannot be met."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong setting: its dotted path ("" for the config as a whole), and what is wrong with it."""

    path: str
    message: str


class ConfigError(InputError):
    """One or more settings are wrong; `faults` lists them all."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(
            "\n".join(f"{shortened(fault.path)}: {fault.message}".removeprefix(": ") for fault in self.faults)
        )


class DataError(InputError):
    """A data set is missing, damaged or in the wrong format."""


class LogsError(InputError):
    """A run or the logs folder cannot be found, read or written."""


class BusyError(TorchdeckError):
    """Another process or thread holds the run, study or lock that was asked for."""

    exit_code = 3


class RunError(TorchdeckError):
    """A run that had started cannot continue."""


class DivergedError(RunError):
    """The loss or the weights are no longer finite."""


class DiskError(RunError):
    """The results of the run could not be written to disk."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged or from another program."""


MAX_WORD_LENGTH = 200
"""Longer words are not compared with the choices: difflib takes too long."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint for a mistyped word: the most similar choice, or all choices where none is similar."""
    known = list(choices)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5) if len(word) <= MAX_WORD_LENGTH else []
    return f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(known)}"


def explained(error: Exception) -> TorchdeckError | None:
    """What an error of the operating system means to a user; None for errors of the program."""
    match error:
        case OSError(filename=str() as path) if error.strerror:
            return InputError(f"{shortened(path)}: {error.strerror.lower()}", "check the path and its permissions")
        case ImportError() if re.search("map segment|allocate memory", str(error)):
            return TorchdeckError(f"too little memory to load a library ({error})", "free memory, or raise its limit")
        case _:
            return None
