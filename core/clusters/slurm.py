"""Run a study on Slurm: submit the jobs of its runs with submitit, adopt and cancel them."""

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
from ..studies.store import remove_incomplete_run
from ..utils.extras import extra_module
from . import RunResources, with_absolute_paths
from .remote_run import ended_by_itself
from .slurm_job import SlurmJob
from .slurm_run import SlurmRun
from .slurm_script import SETUP_LINES, TEARDOWN_LINES, signal_lead_seconds
from .squeue import GONE, JobListing, JobState, ask_squeue


@dataclass(frozen=True, slots=True)
class JobResources:
    """What each run requests of Slurm; `time` is the time limit in seconds."""

    per_run: RunResources
    time: float
    partition: str = ""


class Slurm:
    """The jobs of one study; `start` is its `torchdeck.core.processes.launch.WorkerStarter`."""

    def __init__(self, resources: JobResources) -> None:
        """Check that Slurm and submitit are available.

        Raises:
            InputError: one of them is not.
        """
        if not shutil.which("sbatch"):
            hint = "start the study where sbatch is, such as a cluster's login node, or leave --on out"
            raise InputError("Slurm is not available: there is no sbatch command", hint)
        self._executor = _quiet_executor(extra_module("submitit", "slurm", "--on slurm").SlurmExecutor)
        self._resources = resources
        self._listing: JobListing | None = None
        self._existing_jobs: dict[str, str] = {}

    def leftover_runs(self, study: Path) -> frozenset[str]:
        """The runs that jobs of an earlier process train; jobs that have not started their run are cancelled.

        Raises:
            InputError: Slurm does not answer.
        """
        jobs = ask_squeue(study.name)
        if jobs is None:
            raise InputError("Slurm does not answer", "check that squeue works on this machine")
        self._listing = JobListing(lambda: ask_squeue(study.name))
        for job, run_id in [(job, about.run_id) for job, about in jobs.items() if about.state not in GONE]:
            folder = study.parent / run_id
            if not is_run(folder):
                self.cancel(job, waiting_only=False)
                remove_incomplete_run(study.parent, run_id)
            elif not ended_by_itself(folder):
                self._existing_jobs[run_id] = job
        return frozenset(self._existing_jobs)

    def start(self, request: Mapping[str, Any], console: Path, _lock: int, _slot: Slot) -> SlurmRun:
        """Submit a job for a run, or adopt the one of an earlier process.

        Raises:
            InputError: Slurm does not accept the job.
        """
        return SlurmRun(
            self, with_absolute_paths(request), console.absolute(), self._existing_jobs.pop(request["run_id"], "")
        )

    def jobs_since(self, moment: float) -> dict[str, JobState] | None:
        """See `JobListing.jobs_since`."""
        return self._listing.jobs_since(moment) if self._listing else None

    def submit(self, request: Mapping[str, Any], console: Path) -> str:
        """Write the request into the run folder, and submit a job that reads it; returns the job's id."""
        folder, resources = Path(request["logs"]) / request["run_id"], self._resources
        if not folder.exists():
            write_request(folder, request)
        # -P keeps a folder named torchdeck, where the job starts, from being imported.
        executor = self._executor(console.parent / "slurm", python=f"{shlex.quote(sys.executable)} -P")
        executor.update_parameters(
            job_name=request["study"]["id"],
            comment=request["run_id"],
            time=max(1, math.ceil(resources.time / 60)),
            signal_delay_s=signal_lead_seconds(resources.time),
            partition=resources.partition or None,
            gpus_per_node=resources.per_run.gpus or None,
            cpus_per_task=resources.per_run.cpus,
            srun_args=[f"--cpus-per-task={resources.per_run.cpus}"],
            stderr_to_stdout=True,
            setup=list(SETUP_LINES),
            teardown=list(TEARDOWN_LINES),
            additional_parameters={"requeue": True},
        )
        try:
            return executor.submit(SlurmJob(str(folder), request["data"], str(console))).job_id
        except (OSError, RuntimeError) as error:
            remove_incomplete_run(folder.parent, folder.name)
            output = getattr(error.__cause__, "output", "") or str(error)
            raise InputError(_refusal(output), "see sinfo for partitions and their limits") from None

    def cancel(self, job: str, *, waiting_only: bool) -> None:
        """Cancel a job; does nothing where Slurm does not answer."""
        states = ["--state=PENDING"] if waiting_only else []
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", *states, job], capture_output=True, timeout=10, check=False)


def _refusal(output: str) -> str:
    """The reason why Slurm refused a job, from everything that sbatch printed."""
    lines = [line.strip() for line in output.splitlines() if "error:" in line]
    return lines[-1].rpartition("error:")[2].strip() if lines else output.strip()


def _quiet_executor(base: Any) -> Any:
    """A submitit executor that prints nothing to the terminal, where a table may be shown, when a job is refused."""

    class Executor(base):
        def _make_submission_command(self, submission_file_path: Path) -> list[str]:
            return ["sh", "-c", 'exec sbatch "$0" 2>&1', str(submission_file_path)]

    return Executor
