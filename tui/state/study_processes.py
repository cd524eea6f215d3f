"""The processes that the app starts for studies: each in a session of its own, so that it outlives the app."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ...core.errors import BusyError, LogsError
from ...core.studies.coordinators import living
from ...core.utils.files import open_regular, open_to_append

LOG = "process.log"
LAST_LINES = 6
LONGEST_TAIL = 4096
EXPECTED = (0, 75, 129, 130, 143)
"""Exit codes of a study that was stopped with checkpoints, or is done."""


class Process(Protocol):
    """What is asked of a process that was started."""

    def poll(self) -> int | None:
        """Its exit code, a negative one where a signal killed it; None while it lives."""
        ...


Starter = Callable[[Sequence[str], Path], Process]


def start_detached(command: Sequence[str], log: Path) -> Process:
    """Start a command that does not end with the app or its terminal; what it says goes to a file.

    Raises:
        OSError: it cannot be started, or the file cannot be written.
    """
    with os.fdopen(open_to_append(log), "ab") as said:
        said.truncate(0)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )


class StudyProcesses:
    """One for the app: starts the command that works on a study, and tells why one ended that should not have."""

    def __init__(self, start: Starter = start_detached) -> None:
        self._start = start
        self._begun: dict[Path, Process] = {}

    def go_on(self, folder: Path, data: Path, devices: str, *, retry_failed: bool = False) -> None:
        """Start, or go on with, a study.

        Raises:
            BusyError: a process works on it already.
            LogsError: its process cannot be started.
        """
        if self.active(folder):
            raise BusyError(f"a process works on study {folder.name} already", "wait for its end, or stop it first")
        command = [sys.executable, "-P", "-m", "torchdeck.tui.cli", "study", folder.name]
        command += ["--logs", str(folder.parent.absolute()), "--data", str(data.absolute()), "--devices", devices]
        command += ["--retry-failed"] if retry_failed else []
        try:
            self._begun[folder] = self._start(command, folder / LOG)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LogsError(f"the process of study {folder.name} cannot be started ({reason})", "try again") from None

    def starting(self, folder: Path) -> bool:
        """Whether a process was started that lives, be it that it has not taken the study's lock yet."""
        process = self._begun.get(folder)
        return process is not None and process.poll() is None

    def active(self, folder: Path) -> bool:
        """Whether any process works on a study, the app's or another's."""
        return self.starting(folder) or bool(living(folder))

    def trouble(self, folder: Path) -> str:
        """Why the process that the app started for a study that is not finished ended; "" where it was to end."""
        process = self._begun.get(folder)
        code = process.poll() if process else None
        if code is None or code in EXPECTED:
            return ""
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        said = _tail(folder / LOG)
        return f"The process of the study {how}" + (f":\n{said}" if said else ".")


def _tail(log: Path) -> str:
    """The last lines of a file."""
    try:
        with open(open_regular(log), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - LONGEST_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-LAST_LINES:])
