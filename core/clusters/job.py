"""What a job of a cluster runs: one run, begun or gone on with, as the request in a file of the shared folder says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from core.clusters.watched import SIGNALLED, by_signal
from core.errors import TorchdeckError
from core.events import Failure, RunCompleted, RunEvent, RunFailed, RunStarted, to_json
from core.files import open_to_append
from core.logs import is_run, load_record
from core.worker import Orders, events_of

INTERRUPTED = 75
"""The exit code of a job that a signal stopped with a checkpoint: it is to be started again."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""What clusters send before they take a job's place away, each its own."""

MOST_IN_VAIN = 3
"""Restarts of a job after which one that came no step further is given up."""

PATIENCE = 120.0
"""Seconds in which whoever had the run before must let go of it."""


@dataclass(slots=True)
class Attempt:
    """One attempt at a run: its last event, and the step that it began at."""

    last: RunEvent | None = None
    began_at: int = 0

    @property
    def busy(self) -> bool:
        """Whether another process had the run."""
        return isinstance(self.last, RunFailed) and self.last.error.kind == "busy"

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended it, be it before there was a run."""
        return self.last is None or by_signal(self.last)

    @property
    def in_vain(self) -> bool:
        """Whether it came no step further."""
        return not isinstance(self.last, RunCompleted) or self.last.step <= self.began_at


@dataclass(frozen=True, slots=True)
class Job:
    """What submitit pickles: the request's file, and the file that takes what is printed."""

    request: str
    console: str

    def __call__(self) -> NoReturn:
        """Train, and leave the process with the code that the job's script looks at."""
        with open(open_to_append(Path(self.console)), "ab") as console:
            os.dup2(console.fileno(), 1)
            os.dup2(console.fileno(), 2)
        code = train(Path(self.request), int(os.environ.get("SLURM_RESTART_COUNT", "0")))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def train(request_file: Path, restarts: int = 0) -> int:
    """Work on a run to its end or to a signal: 0 done or stopped as asked, 1 failed, 75 to be started again."""
    request = json.loads(request_file.read_text())
    control = Orders()

    def on_signal(number: int, _: FrameType | None) -> None:
        control.request("stop", f"{SIGNALLED}{signal.Signals(number).name}")

    for number in SIGNALS:
        signal.signal(number, on_signal)
    return _exit_code(_attempt(request, control), restarts)


def _attempt(request: dict[str, Any], control: Orders) -> Attempt:
    """Go on with the run, or begin it; whoever still has it is given time to let go."""
    folder, end = Path(request["logs"]) / request["run_id"], time.monotonic() + PATIENCE
    while True:
        attempt = _once(request, folder, control)
        if not attempt.busy or control.stopping.is_set() or time.monotonic() > end:
            return attempt
        control.wait(1.0)


def _once(request: dict[str, Any], folder: Path, control: Orders) -> Attempt:
    resumed = is_run(folder)
    ending = load_record(folder).ending if resumed else None
    if isinstance(ending, RunCompleted) and ending.status == "completed":
        return Attempt(ending)
    attempt = Attempt()
    try:
        for event in events_of({**request, "resume": resumed}, control):
            attempt.last = event
            if isinstance(event, RunStarted):
                attempt.began_at = event.resumed_from or 0
    except TorchdeckError as error:
        attempt.last = RunFailed(error=Failure("input", type(error).__name__, error.message, error.mend))
    return attempt


def _exit_code(attempt: Attempt, restarts: int) -> int:
    """A failure is the last line of what is printed, for one that left no run directory."""
    interrupted = attempt.interrupted
    if interrupted and attempt.in_vain and restarts >= MOST_IN_VAIN:
        message = f"{restarts + 1} jobs were interrupted before the run came a step further"
        attempt.last = RunFailed(error=Failure("crash", "Interrupted", message, "give its jobs a longer time"))
    if isinstance(attempt.last, RunFailed):
        sys.stdout.write(json.dumps(to_json(attempt.last)) + "\n")
        sys.stdout.flush()
        return 1
    return INTERRUPTED if interrupted else 0
