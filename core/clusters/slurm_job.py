"""What a Slurm job runs: one run of the shared folder, begun or gone on with, by `torchdeck.core.processes.worker`."""

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

MOST_IN_VAIN = 3
"""Restarts of a job after which one that came no step further is given up."""

RELEASE_TIMEOUT = 120.0
"""Seconds in which whoever had the run before, such as a node that is lost, must let go of it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What submitit pickles: the run's directory, the folder of the data sets, and the file for what is printed."""

    folder: str
    data: str
    console: str

    def __call__(self) -> NoReturn:
        """Train, and leave the process with the code that the job's script looks at."""
        with open(open_to_append(Path(self.console)), "ab") as console:
            os.dup2(console.fileno(), 1)
            os.dup2(console.fileno(), 2)
        code = train(Path(self.folder), self.data, int(os.environ.get("SLURM_RESTART_COUNT", "0")))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def train(folder: Path, data: str, restarts: int = 0) -> int:
    """Work on a run to its end or to a signal; an exit code of `torchdeck.core.processes.worker`.

    A failure is the last line of what is printed, for one that left no run directory.
    """
    end = time.monotonic() + RELEASE_TIMEOUT
    while is_locked(folder) and time.monotonic() < end:
        time.sleep(1)
    before = load_record(folder).step
    code = main([str(folder), "--data", data, "--sample-every", str(SAMPLE_SECONDS)])
    if code != EXIT_STOPPED_BY_SCHEDULER or restarts < MOST_IN_VAIN or load_record(folder).step > before:
        return code
    told = f"{restarts + 1} jobs were interrupted before the run came a step further"
    failure = RunFailed(error=Failure("crash", "Interrupted", told, "give its jobs a longer time"))
    sys.stdout.write(json.dumps(to_json(failure)) + "\n")
    return 1
