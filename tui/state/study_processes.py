"""The processes that the app starts to run studies; each is a session leader, so that it outlives the app."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ...core.errors import BusyError, LogsError
from ...core.studies.coordinators import active_coordinators
from ...core.utils.files import open_regular, open_to_append

LOG = "process.log"
TAIL_LINES = 6
MAX_TAIL_BYTES = 4096
EXPECTED = (0, 75, 129, 130, 143)
"""Exit codes of a study that completed, or was stopped with checkpoints."""


class Process(Protocol):
    """The part of `subprocess.Popen` that is used here."""

    def poll(self) -> int | None:
        """The exit code, negative if a signal killed the process; None while it runs."""
        ...


Starter = Callable[[Sequence[str], Path], Process]


def start_detached(command: Sequence[str], log: Path) -> Process:
    """Start a command that outlives the app and its terminal; its stderr goes to a file.

    Raises:
        OSError: the command cannot be started, or the file is not writable.
    """
    with os.fdopen(open_to_append(log), "ab") as output:
        output.truncate(0)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True
        )


class StudyProcesses:
    """One per app: starts the processes that run studies, and reports why one failed."""

    def __init__(self, start: Starter = start_detached) -> None:
        self._start = start
        self._started: dict[Path, Process] = {}

    def start(self, folder: Path, data: Path, devices: str, *, retry_failed: bool = False) -> None:
        """Start or resume a study.

        Raises:
            BusyError: a process runs the study already.
            LogsError: its process cannot be started.
        """
        if self.is_active(folder):
            raise BusyError(
                f"study {folder.name} is being run by a process already", "wait for its end, or stop it first"
            )
        command = [sys.executable, "-P", "-m", "torchdeck.tui.cli", "study", folder.name]
        command += ["--logs", str(folder.parent.absolute()), "--data", str(data.absolute()), "--devices", devices]
        command += ["--retry-failed"] if retry_failed else []
        try:
            self._started[folder] = self._start(command, folder / LOG)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LogsError(f"the process of study {folder.name} cannot be started ({reason})", "try again") from None

    def is_starting(self, folder: Path) -> bool:
        """Whether a process that the app started is alive, even if it has not locked the study yet."""
        process = self._started.get(folder)
        return process is not None and process.poll() is None

    def is_active(self, folder: Path) -> bool:
        """Whether any process, the app's or another, runs the study."""
        return self.is_starting(folder) or bool(active_coordinators(folder))

    def failure(self, folder: Path) -> str:
        """How the process that the app started for a study failed; "" if it runs, or ended as expected."""
        process = self._started.get(folder)
        code = process.poll() if process else None
        if code is None or code in EXPECTED:
            return ""
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        output = _tail(folder / LOG)
        return f"The process of the study {how}" + (f":\n{output}" if output else ".")


def _tail(log: Path) -> str:
    """The last lines of a file."""
    try:
        with open(open_regular(log), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - MAX_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-TAIL_LINES:])
