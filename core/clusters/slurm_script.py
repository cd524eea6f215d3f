"""What a job's shell script does for a training that Slurm may interrupt: outlive the signals, and requeue it."""

from __future__ import annotations

from core.worker import STOPPED_UNDER_A_SCHEDULER

# Slurm signals the shell too where a job is requeued; bash waits for the command in hand before it obeys this.
BEFORE = ("trap : TERM USR1 USR2",)
"""Lines before the `srun` that trains."""

# A job that is cancelled, or that Slurm requeues by itself, is COMPLETING here: requeued, it would come back from the
# dead, or twice.
AFTER = (
    "code=$?",
    f'if [ "$code" = {STOPPED_UNDER_A_SCHEDULER} ] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then',
    '    scontrol requeue "$SLURM_JOB_ID"',
    "fi",
    'exit "$code"',
)
"""Lines after it."""


def warning(seconds: float) -> int:
    """How long before a time limit a job is signalled, in seconds: the time for a batch and a checkpoint."""
    return int(min(120, seconds // 4))
