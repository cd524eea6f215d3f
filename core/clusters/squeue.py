"""Query squeue for the jobs of a study: their states, reasons and nodes."""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

POLL_SECONDS = 5.0
"""Seconds between two calls of squeue."""

SQUEUE_TIMEOUT = 60.0
"""Seconds for squeue to answer."""

GONE = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)
WAITS = frozenset(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"))


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as squeue reports it: state, reason, nodes, and the run that it is for."""

    state: str
    reason: str = ""
    nodes: str = ""
    run_id: str = ""


def parse_jobs(listing: str) -> dict[str, JobState]:
    """The jobs by id, from the output of `squeue` in the format used here."""
    fields = (line.split("|") for line in listing.splitlines())
    return {job: JobState(*about) for job, *about in fields if len(about) == 4}


def ask_squeue(study_id: str) -> dict[str, JobState] | None:
    """The jobs of a study, including those that ended recently; None where Slurm does not answer."""
    command = ["squeue", "--noheader", "--states=all", f"--name={study_id}", "--format=%i|%T|%r|%N|%k"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SQUEUE_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_jobs(answer.stdout)


class JobListing:
    """The latest known jobs of a study; squeue is called in a thread, so that a busy controller delays nobody."""

    def __init__(
        self,
        ask: Callable[[], dict[str, JobState] | None],
        clock: Callable[[], float] = time.monotonic,
        every: float = POLL_SECONDS,
    ) -> None:
        self._ask, self._clock, self._every = ask, clock, every
        self._answer: tuple[float, dict[str, JobState]] = (-math.inf, {})
        self._asked_at = -math.inf
        self._thread: threading.Thread | None = None

    def jobs_since(self, moment: float) -> dict[str, JobState] | None:
        """The jobs by id; None where there is no answer yet to a query after `moment` (seconds of the clock)."""
        alive = self._thread is not None and self._thread.is_alive()
        if not alive and self._clock() - self._asked_at >= self._every:
            self._asked_at = self._clock()
            self._thread = threading.Thread(target=self._refresh, args=(self._asked_at,), name="squeue", daemon=True)
            self._thread.start()
        asked_at, jobs = self._answer
        return jobs if asked_at > moment else None

    def _refresh(self, asked_at: float) -> None:
        jobs = self._ask()
        if jobs is not None:
            self._answer = (asked_at, jobs)
