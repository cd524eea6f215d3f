"""A run of a study as Slurm jobs: watched, sent commands, given another job where one is lost.

The progress and the end of the run are read from its folder; Slurm is asked whether its job waits, runs or is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..control import CommandName
from ..errors import InputError
from ..events import RunFailed
from ..processes.launch import file_size, read_failure
from ..runs.layout import is_run
from ..studies.model import PRUNED
from ..studies.store import remove_incomplete_run
from .remote_run import RemoteRun
from .squeue import GONE, WAITS, JobState

RESUBMIT_SECONDS = 30.0
"""Seconds after which a job that Slurm did not accept is submitted again."""


class Scheduler(Protocol):
    """What a run needs of Slurm."""

    def submit(self, request: Mapping[str, Any], console: Path) -> str:
        """Submit a job for a run; returns its id. Raises InputError where Slurm does not accept it."""
        ...

    def jobs_since(self, moment: float) -> dict[str, JobState] | None:
        """See `JobListing.jobs_since`."""
        ...

    def cancel(self, job: str, *, waiting_only: bool) -> None:
        """Cancel a job; with `waiting_only` only where it has not started."""
        ...


class SlurmRun:
    """A run as a `torchdeck.core.processes.launch.Worker`: when its job ends before the run, another one is submitted.

    An interrupted job requeues itself where it can, and then remains the same job.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        request: Mapping[str, Any],
        console: Path,
        job: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Submit a job, or adopt the given one.

        Raises:
            InputError: Slurm does not accept the job.
        """
        self._scheduler, self._request, self._console, self._clock = scheduler, request, console, clock
        self._console_start = file_size(console)
        self._run = RemoteRun(Path(request["logs"]) / request["run_id"])
        self._refusal = ""
        self._ended = False
        self._watch_job(job or scheduler.submit(request, console), "RUNNING" if job else "PENDING")

    def _watch_job(self, job: str, state: str) -> None:
        """Start to watch a job; its state is a guess until Slurm reports it."""
        self._job, self._state, self._polls_missing, self._since = job, JobState(state), 0, self._clock()

    @property
    def place(self) -> str:
        """The nodes and the job, or why it waits, as text."""
        if self._refusal:
            return f"Slurm does not accept its job: {self._refusal}"
        if self._state.state in WAITS:
            waits = self._state.reason if self._state.reason not in ("", "None") else "queued"
            return f"Slurm job {self._job} waits: {waits}"
        return f"{self._state.nodes or 'Slurm'}, job {self._job}"

    @property
    def ended(self) -> bool:
        """Whether its run has ended, or its job is gone and no other will follow."""
        if not self._ended and self._poll():
            self._ended = True
            # Without a run there may still be a folder with its request.
            remove_incomplete_run(self._run.folder.parent, self._run.folder.name)
        return self._ended

    def _poll(self) -> bool:
        self._run.poll()
        if self._refusal:
            return self._stopping or self._resubmit()
        jobs = self._scheduler.jobs_since(self._since)
        if jobs is None:
            return False
        self._since = self._clock()
        self._state = jobs.get(self._job, JobState("GONE"))
        if self._state.state not in GONE and self._job in jobs:
            self._polls_missing = 0
            self._cancel_if_stopping()
            return False
        self._polls_missing += 1
        if self._run.is_finished:
            return True
        # A job that is being requeued may seem gone for an instant.
        return self._polls_missing > 1 and (not self._needs_another_job or self._resubmit())

    @property
    def _stopping(self) -> bool:
        return self._run.last_command is not None and self._run.last_command[0] == "stop"

    @property
    def _needs_another_job(self) -> bool:
        """Whether Slurm interrupted the job, rather than a stop or a user."""
        return self._run.was_interrupted and not self._stopping and self._state.state != "CANCELLED"

    def _resubmit(self) -> bool:
        """Submit another job for the run; always False, because the run has not ended."""
        if self._refusal and self._clock() - self._since < RESUBMIT_SECONDS:
            return False
        try:
            self._watch_job(self._scheduler.submit(self._request, self._console), "PENDING")
            self._refusal = ""
        except InputError as error:
            self._refusal, self._since = error.message, self._clock()
        return False

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command to the run; a stop before it trains cancels its job."""
        self._run.send(command, reason)
        self._cancel_if_stopping()

    def _cancel_if_stopping(self) -> None:
        """Cancel the job of a run that is to stop, unless that would lose work."""
        if not self._stopping:
            return
        if not is_run(self._run.folder):
            self._scheduler.cancel(self._job, waiting_only=False)
        elif self._run.last_command and not self._run.last_command[1].startswith(PRUNED):
            # A run that is pruned while its job waits gets the stop when it resumes, so that its log has the reason.
            self._scheduler.cancel(self._job, waiting_only=True)

    def close(self) -> None:
        """Stop it with a checkpoint."""
        if not self._ended:
            self.send("stop", "the process that started the run is gone")

    def exit_text(self) -> str:
        """What Slurm reports of the job, as text."""
        state = self._state.state.lower().replace("_", " ")
        return f"its Slurm job {self._job} is {state}; see {self._console}"

    def failure(self) -> RunFailed | None:
        """The failure that the job printed at its end; None without one."""
        return read_failure(self._console, self._console_start)
