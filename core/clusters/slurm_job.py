"""The function that a Slurm job of a study calls: starts or resumes one run by `torchdeck.core.processes.worker`."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..events import Failure, RunFailed, to_json
from ..processes.worker import EXIT_STOPPED_BY_SCHEDULER, SAMPLE_SECONDS, main
from ..runs.layout import is_locked
from ..runs.reader import load_record
from ..utils.files import open_to_append

MAX_STALLED_RESTARTS = 3
"""Restarts without a single new step after which a job gives up."""

RELEASE_TIMEOUT = 120.0
"""Seconds in which a previous process of the run, for instance on a lost node, must release it."""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """The callable that submitit pickles: run folder, data folder, and console file."""

    folder: str
    data: str
    console: str

    def __call__(self) -> NoReturn:
        """Train, and exit the process with the code that the job script checks."""
        with open(open_to_append(Path(self.console)), "ab") as console:
            os.dup2(console.fileno(), 1)
            os.dup2(console.fileno(), 2)
        code = train(Path(self.folder), self.data, int(os.environ.get("SLURM_RESTART_COUNT", "0")))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def train(folder: Path, data: str, restarts: int = 0) -> int:
    """Train a run until it ends or a signal comes; returns an exit code of `torchdeck.core.processes.worker`.

    A failure is also the last line of stdout, in case there is no run folder to record it in.
    """
    end = time.monotonic() + RELEASE_TIMEOUT
    while is_locked(folder) and time.monotonic() < end:
        time.sleep(1)
    before = load_record(folder).step
    code = main([str(folder), "--data", data, "--sample-every", str(SAMPLE_SECONDS)])
    if code != EXIT_STOPPED_BY_SCHEDULER or restarts < MAX_STALLED_RESTARTS or load_record(folder).step > before:
        return code
    message = f"{restarts + 1} jobs were interrupted before the run made a single step"
    failure = RunFailed(error=Failure("crash", "Interrupted", message, "request a longer time limit"))
    sys.stdout.write(json.dumps(to_json(failure)) + "\n")
    return 1
