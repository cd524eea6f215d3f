"""Measure the time of an epoch from a few batches: `python -P -m torchdeck.core.training.epoch_timing DATA`.

The config comes as JSON on stdin.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path

import torch

from ..config import ExperimentConfig, parse_config
from ..data import open_dataset
from ..data.epoch_plan import epoch_plan
from ..data.prepare import prepare
from ..errors import TorchdeckError
from ..utils.gc_tuning import collect_rarely
from ..utils.generators import run_to_end
from .loop import evaluate_step
from .plan import make_plan, steps_per_epoch, with_precision
from .precision import choose_precision
from .process_group import Ranks
from .state import TrainingJob, build_job, configure_process, evaluation_tally
from .step_graph import open_steps

WARMUP_STEPS = 3
MAX_STEPS = 50
MAX_SECONDS = 3.0


def seconds_per_epoch(config: ExperimentConfig, data: Path) -> float:
    """Seconds of an epoch, training and evaluation, extrapolated from a few batches of each."""
    plan = make_plan(config, data)
    if plan.config.training.precision == "auto":
        plan = with_precision(plan, choose_precision(plan))
    prepared = run_to_end(prepare(open_dataset(plan.config.data, data), plan.config.training.seed, False))
    configure_process(plan)
    job = build_job(plan, prepared, Ranks(world=plan.ranks))
    size = plan.config.training.evaluation_batch_size
    assert isinstance(size, int)
    training = job.steps * _train(job)
    return training + steps_per_epoch(len(job.test_batches), size * plan.ranks) * _evaluate(job, size)


def _train(job: TrainingJob) -> float:
    """Seconds of a training step."""
    plan = epoch_plan(len(job.train_batches), job.plan.config.training.seed, 1, job.plan.config.data)
    job.model.train()
    # The capture of a step is not timed either.
    warm_up = WARMUP_STEPS + job.plan.captures_steps
    count, started = -warm_up, time.perf_counter()
    for step in islice(open_steps(job).of_epoch(plan, 0), warm_up + MAX_STEPS):
        step()
        count += 1
        if count == 0 and job.steps > warm_up:  # the steps before were only to warm up
            _wait(job)
            started = time.perf_counter()
        if count > 0 and time.perf_counter() - started > MAX_SECONDS:
            break
    count = count if count > 0 else count + warm_up
    _wait(job)
    return (time.perf_counter() - started) / max(1, count)


def _evaluate(job: TrainingJob, size: int) -> float:
    """Seconds of an evaluation batch."""
    job.model.eval()
    tally, count, started = evaluation_tally(job.plan, len(job.test_batches), job.ranks), 0, time.perf_counter()
    for images, labels in islice(job.test_batches.evaluate(size), MAX_STEPS):
        evaluate_step(job, images, labels, tally)
        count += 1
        if time.perf_counter() - started > MAX_SECONDS:
            break
    _wait(job)
    return (time.perf_counter() - started) / max(1, count)


def _wait(job: TrainingJob) -> None:
    if job.plan.device.type == "cuda":
        torch.cuda.synchronize(job.plan.device)


def main() -> None:
    """Print one JSON object, or the reason on stderr."""
    collect_rarely()
    try:
        seconds = seconds_per_epoch(parse_config(json.load(sys.stdin)), Path(sys.argv[1]))
    except TorchdeckError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps({"seconds_per_epoch": seconds}))


if __name__ == "__main__":
    main()
