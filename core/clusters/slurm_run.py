"""A study's run as Slurm jobs: looked after, told what it is asked, followed by another job where one is lost.

How the run goes and ended is read from its directory; Slurm is asked where its job waits, runs, and whether it is gone.
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
from ..studies.store import clear_unborn
from .remote_run import Watched
from .squeue import GONE, WAITS, JobState

TRY_AGAIN = 30.0
"""Seconds after which a job that Slurm would not take is submitted again."""


class Scheduler(Protocol):
    """What a run needs of Slurm."""

    def submit(self, request: Mapping[str, Any], console: Path) -> str:
        """Submit a job for a run; its id. Raises InputError where Slurm does not take it."""
        ...

    def jobs_since(self, moment: float) -> dict[str, JobState] | None:
        """See `Listing.jobs_since`."""
        ...

    def cancel(self, job: str, *, waiting_only: bool) -> None:
        """Cancel a job, perhaps only where it has not begun."""
        ...


class SlurmRun:
    """A run as a `torchdeck.core.processes.launch.Worker`: a job that ends before its run does is followed by another.

    A job that was interrupted requeues itself, and is the same job then; one that cannot, ends.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        request: Mapping[str, Any],
        console: Path,
        job: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Submit its job, or take up the one that stands for it.

        Raises:
            InputError: Slurm does not take the job.
        """
        self._scheduler, self._request, self._console, self._clock = scheduler, request, console, clock
        self._printed = file_size(console)
        self._watched = Watched(Path(request["logs"]) / request["run_id"])
        self._refusal = ""
        self._over = False
        self._expect(job or scheduler.submit(request, console), "RUNNING" if job else "PENDING")

    def _expect(self, job: str, state: str) -> None:
        """Begin to look after a job; its state is a guess until Slurm tells."""
        self._job, self._state, self._missed, self._since = job, JobState(state), 0, self._clock()

    @property
    def place(self) -> str:
        """The nodes and the job, or what that waits for."""
        if self._refusal:
            return f"Slurm does not take its job: {self._refusal}"
        if self._state.state in WAITS:
            waits = self._state.reason if self._state.reason not in ("", "None") else "for its turn"
            return f"Slurm job {self._job} waits: {waits}"
        return f"{self._state.nodes or 'Slurm'}, job {self._job}"

    @property
    def ended(self) -> bool:
        """Whether its run came to an end, or its job is gone and no other is to follow."""
        if not self._over and self._look():
            self._over = True
            # Where it did not come to a run, there may be the request for one.
            clear_unborn(self._watched.folder.parent, self._watched.folder.name)
        return self._over

    def _look(self) -> bool:
        self._watched.look()
        if self._refusal:
            return self._stopping or self._submit_again()
        jobs = self._scheduler.jobs_since(self._since)
        if jobs is None:
            return False
        self._since = self._clock()
        self._state = jobs.get(self._job, JobState("GONE"))
        if self._state.state not in GONE and self._job in jobs:
            self._missed = 0
            self._call_off()
            return False
        self._missed += 1
        if self._watched.finished:
            return True
        # A job that is requeued may seem gone for an instant.
        return self._missed > 1 and (not self._to_be_followed or self._submit_again())

    @property
    def _stopping(self) -> bool:
        return self._watched.asked is not None and self._watched.asked[0] == "stop"

    @property
    def _to_be_followed(self) -> bool:
        """Whether the job was interrupted, and by Slurm: not by whoever asked for it, nor by a person."""
        return self._watched.interrupted and not self._stopping and self._state.state != "CANCELLED"

    def _submit_again(self) -> bool:
        """Give the run another job; never an end."""
        if self._refusal and self._clock() - self._since < TRY_AGAIN:
            return False
        try:
            self._expect(self._scheduler.submit(self._request, self._console), "PENDING")
            self._refusal = ""
        except InputError as error:
            self._refusal, self._since = error.message, self._clock()
        return False

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command to wherever the run trains; one that is to stop before it trains loses its job."""
        self._watched.send(command, reason)
        self._call_off()

    def _call_off(self) -> None:
        """Cancel the job of a run that is to stop, as far as nothing is lost by it."""
        if not self._stopping:
            return
        if not is_run(self._watched.folder):
            self._scheduler.cancel(self._job, waiting_only=False)
        elif self._watched.asked and not self._watched.asked[1].startswith(PRUNED):
            # One that is pruned while it waits is told so when it goes on: its log is to have the reason.
            self._scheduler.cancel(self._job, waiting_only=True)

    def close(self) -> None:
        """Have it stop with a checkpoint."""
        if not self._over:
            self.send("stop", "the process that asked for the run is gone")

    def exit_text(self) -> str:
        """What Slurm says of the job."""
        state = self._state.state.lower().replace("_", " ")
        return f"its Slurm job {self._job} is {state}; see {self._console}"

    def failure(self) -> RunFailed | None:
        """What the job told at its end."""
        return read_failure(self._console, self._printed)
