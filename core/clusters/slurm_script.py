"""Job scripts for Slurm that survive its signals and requeue a run that stopped because of one."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ..processes.worker import EXIT_STOPPED_BY_SCHEDULER
from . import RunResources

# Slurm also signals the shell when a job is requeued; bash handles a trap only after the current command.
SETUP_LINES = ("trap : TERM USR1 USR2",)
"""Lines before the `srun` command that trains."""

# A job that is cancelled, or that Slurm requeues itself, is COMPLETING at this point: requeueing it would revive it, or
# duplicate it.
TEARDOWN_LINES = (
    "code=$?",
    f'if [ "$code" = {EXIT_STOPPED_BY_SCHEDULER} ] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then',
    '    scontrol requeue "$SLURM_JOB_ID"',
    "fi",
    'exit "$code"',
)
"""Lines after it."""

PORT_RANGE = (20_000, 20_000)
"""Rendezvous ports of a job's machines: the first one, and how many there are; the job id chooses among them."""


def signal_lead_seconds(seconds: float) -> int:
    """How many seconds before its time limit a job is signalled: enough for a batch and a checkpoint."""
    return int(min(120, seconds // 4))


@dataclass(frozen=True, slots=True)
class BatchJob:
    """The job of a run on several machines: the resources on each of them, and its time limit in seconds."""

    nodes: int
    share: RunResources
    time: float
    partition: str = ""


def script_of(folder: Path, data: Path, batch: BatchJob) -> str:
    """The script of a job that trains the requested run of a folder on several machines, with an agent on each."""
    options = {
        "job-name": folder.name,
        "nodes": batch.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": batch.share.gpus or None,
        "cpus-per-task": batch.share.cpus,
        "partition": batch.partition or None,
        "time": max(1, math.ceil(batch.time / 60)),
        "signal": f"USR2@{signal_lead_seconds(batch.time)}",
        "output": shlex.quote(str(folder.parent / "slurm-%j.log")),
        "open-mode": "append",
    }
    flags = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    first, count = PORT_RANGE
    rendezvous = [
        "# The machines meet on the first of them.",
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        r"""host=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')""",
        f"port=$(({first} + SLURM_JOB_ID % {count}))",
    ]
    worker = [sys.executable, "-P", "-m", "torchdeck.core.processes.worker", str(folder), "--data", str(data)]
    train = f'srun --cpus-per-task={batch.share.cpus} {shlex.join(worker)} --rendezvous "$host:$port"'
    return "\n".join(
        ["#!/bin/bash", *flags, "#SBATCH --requeue", "", *SETUP_LINES, *rendezvous, train, *TEARDOWN_LINES, ""]
    )
