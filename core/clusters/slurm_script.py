"""Shell scripts of Slurm jobs that Slurm may interrupt: they outlive its signals, and requeue what stopped for them."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ..processes.worker import EXIT_STOPPED_BY_SCHEDULER
from . import Share

# Slurm signals the shell too where a job is requeued; bash waits for the command in hand before it obeys this.
BEFORE = ("trap : TERM USR1 USR2",)
"""Lines before the `srun` that trains."""

# A job that is cancelled, or that Slurm requeues by itself, is COMPLETING here: requeued, it would come back from the
# dead, or twice.
AFTER = (
    "code=$?",
    f'if [ "$code" = {EXIT_STOPPED_BY_SCHEDULER} ] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then',
    '    scontrol requeue "$SLURM_JOB_ID"',
    "fi",
    'exit "$code"',
)
"""Lines after it."""

PORTS = (20_000, 20_000)
"""Where the machines of a job meet: the first port, and how many there are to choose from by the job's number."""


def warning(seconds: float) -> int:
    """How long before a time limit a job is signalled, in seconds: the time for a batch and a checkpoint."""
    return int(min(120, seconds // 4))


@dataclass(frozen=True, slots=True)
class Batch:
    """What the job of a run on several machines gets: the share on each of them, and its time in seconds."""

    nodes: int
    share: Share
    time: float
    partition: str = ""


def script_of(folder: Path, data: Path, batch: Batch) -> str:
    """The script of a job that trains the run asked for in a directory on several machines, an agent on each."""
    options = {
        "job-name": folder.name,
        "nodes": batch.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": batch.share.gpus or None,
        "cpus-per-task": batch.share.cpus,
        "partition": batch.partition or None,
        "time": max(1, math.ceil(batch.time / 60)),
        "signal": f"USR2@{warning(batch.time)}",
        "output": shlex.quote(str(folder.parent / "slurm-%j.log")),
        "open-mode": "append",
    }
    flags = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    first, count = PORTS
    meeting = [
        "# The machines meet on the first of them.",
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        r"""host=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')""",
        f"port=$(({first} + SLURM_JOB_ID % {count}))",
    ]
    worker = [sys.executable, "-P", "-m", "torchdeck.core.processes.worker", str(folder), "--data", str(data)]
    train = f'srun --cpus-per-task={batch.share.cpus} {shlex.join(worker)} --rendezvous "$host:$port"'
    return "\n".join(["#!/bin/bash", *flags, "#SBATCH --requeue", "", *BEFORE, *meeting, train, *AFTER, ""])
