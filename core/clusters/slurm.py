"""Slurm for a study: its runs' jobs, submitted through submitit and cancelled, with the shared folder between."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..devices.slots import Slot
from ..errors import InputError
from ..runs.layout import is_run
from ..runs.request import write_request
from ..studies.store import clear_unborn
from ..utils.extras import extra_module
from . import Share, from_anywhere
from .remote_run import ended_by_itself
from .slurm_job import Job
from .slurm_run import SlurmRun
from .slurm_script import AFTER, BEFORE, warning
from .squeue import GONE, JobState, Listing, ask_squeue


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of Slurm for each run; time in seconds."""

    share: Share
    time: float
    partition: str = ""


class Slurm:
    """The jobs of one study; `start` is its `torchdeck.core.processes.launch.Starter`."""

    def __init__(self, wanted: Wanted) -> None:
        """Look for Slurm and submitit.

        Raises:
            InputError: one of them is not here.
        """
        if not shutil.which("sbatch"):
            hint = "start the study where sbatch is, such as a cluster's login node, or leave --on out"
            raise InputError("Slurm is not here: there is no sbatch command", hint)
        self._executor = _quiet(extra_module("submitit", "slurm", "--on slurm").SlurmExecutor)
        self._wanted = wanted
        self._listing: Listing | None = None
        self._standing: dict[str, str] = {}

    def left_over(self, study: Path) -> frozenset[str]:
        """The runs that jobs of an earlier process of the study have; jobs that did not begin theirs are cancelled.

        Raises:
            InputError: Slurm does not answer.
        """
        jobs = ask_squeue(study.name)
        if jobs is None:
            raise InputError("Slurm does not answer", "see whether squeue works here")
        self._listing = Listing(lambda: ask_squeue(study.name))
        for job, run_id in [(job, about.run_id) for job, about in jobs.items() if about.state not in GONE]:
            folder = study.parent / run_id
            if not is_run(folder):
                self.cancel(job, waiting_only=False)
                clear_unborn(study.parent, run_id)
            elif not ended_by_itself(folder):
                self._standing[run_id] = job
        return frozenset(self._standing)

    def start(self, request: Mapping[str, Any], console: Path, _lock: int, _slot: Slot) -> SlurmRun:
        """Submit the job of a run, or take over the one that an earlier process left.

        Raises:
            InputError: Slurm does not take the job.
        """
        return SlurmRun(self, from_anywhere(request), console.absolute(), self._standing.pop(request["run_id"], ""))

    def jobs_since(self, moment: float) -> dict[str, JobState] | None:
        """See `Listing.jobs_since`."""
        return self._listing.jobs_since(moment) if self._listing else None

    def submit(self, request: Mapping[str, Any], console: Path) -> str:
        """Leave the request in the run's directory, and submit a job that reads it."""
        folder, wanted = Path(request["logs"]) / request["run_id"], self._wanted
        if not folder.exists():
            write_request(folder, request)
        # -P keeps a folder named torchdeck, where the job starts, from being imported.
        executor = self._executor(console.parent / "slurm", python=f"{shlex.quote(sys.executable)} -P")
        executor.update_parameters(
            job_name=request["study"]["id"],
            comment=request["run_id"],
            time=max(1, math.ceil(wanted.time / 60)),
            signal_delay_s=warning(wanted.time),
            partition=wanted.partition or None,
            gpus_per_node=wanted.share.gpus or None,
            cpus_per_task=wanted.share.cpus,
            srun_args=[f"--cpus-per-task={wanted.share.cpus}"],
            stderr_to_stdout=True,
            setup=list(BEFORE),
            teardown=list(AFTER),
            additional_parameters={"requeue": True},
        )
        try:
            return executor.submit(Job(str(folder), request["data"], str(console))).job_id
        except (OSError, RuntimeError) as error:
            clear_unborn(folder.parent, folder.name)
            said = getattr(error.__cause__, "output", "") or str(error)
            raise InputError(_refusal(said), "ask sinfo for partitions and their limits") from None

    def cancel(self, job: str, *, waiting_only: bool) -> None:
        """Cancel a job, or leave it where Slurm does not answer."""
        states = ["--state=PENDING"] if waiting_only else []
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", *states, job], capture_output=True, timeout=10, check=False)


def _refusal(said: str) -> str:
    """What Slurm has against a job, of all that was printed."""
    lines = [line.strip() for line in said.splitlines() if "error:" in line]
    return lines[-1].rpartition("error:")[2].strip() if lines else said.strip()


def _quiet(base: Any) -> Any:
    """A submitit executor that prints nothing in the terminal, where a table may stand, when Slurm refuses a job."""

    class Executor(base):
        def _make_submission_command(self, submission_file_path: Path) -> list[str]:
            return ["sh", "-c", 'exec sbatch "$0" 2>&1', str(submission_file_path)]

    return Executor
