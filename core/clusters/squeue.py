"""What Slurm says of a study's jobs: where they wait, where they run, and which are gone."""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LOOK_EVERY = 5.0
"""Seconds between two questions to Slurm about all jobs of a study."""

SQUEUE_TIMEOUT = 60.0
"""Seconds that Slurm has to answer."""

GONE = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)
WAITS = frozenset(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"))


@dataclass(frozen=True, slots=True)
class JobState:
    """What Slurm says of a job: its state and the reason, the nodes that it has, and the run that it is for."""

    state: str
    reason: str = ""
    nodes: str = ""
    run_id: str = ""


def parse_jobs(listing: str) -> dict[str, JobState]:
    """The jobs by their ids, of what `squeue` printed in the format that is asked for here."""
    fields = (line.split("|") for line in listing.splitlines())
    return {job: JobState(*about) for job, *about in fields if len(about) == 4}


def ask_squeue(study_id: str) -> dict[str, JobState] | None:
    """The jobs of a study, those that ended a while ago included; None where Slurm does not answer."""
    command = ["squeue", "--noheader", "--states=all", f"--name={study_id}", "--format=%i|%T|%r|%N|%k"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SQUEUE_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_jobs(answer.stdout)


class Listing:
    """The jobs of a study as Slurm told them last; asked in a thread, so that nobody waits for a busy controller."""

    def __init__(
        self,
        ask: Callable[[], dict[str, JobState] | None],
        clock: Callable[[], float] = time.monotonic,
        every: float = LOOK_EVERY,
    ) -> None:
        self._ask, self._clock, self._every = ask, clock, every
        self._told: tuple[float, dict[str, JobState]] = (-math.inf, {})
        self._asked = -math.inf
        self._thread: threading.Thread | None = None

    def jobs_since(self, moment: float) -> dict[str, JobState] | None:
        """The jobs by their ids; None where Slurm has not told of them in answer to a question after a moment."""
        alive = self._thread is not None and self._thread.is_alive()
        if not alive and self._clock() - self._asked >= self._every:
            self._asked = self._clock()
            self._thread = threading.Thread(target=self._refresh, args=(self._asked,), name="squeue", daemon=True)
            self._thread.start()
        asked, jobs = self._told
        return jobs if asked > moment else None

    def _refresh(self, asked: float) -> None:
        jobs = self._ask()
        if jobs is not None:
            self._told = (asked, jobs)
