"""Jobs without a run around them, stepped by hand: what tests damage from within."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.data import open_dataset
from torchdeck.core.data.prepare import prepare
from torchdeck.core.devices.torch_device import open_sampler
from torchdeck.core.events import RunEvent, StepCompleted
from torchdeck.core.training.loop import train
from torchdeck.core.training.pacing import Pacer
from torchdeck.core.training.plan import make_plan
from torchdeck.core.training.state import TrainingJob, build_job, configure_process
from torchdeck.core.utils.generators import run_to_end


def job_of(config: ExperimentConfig, root: Path) -> TrainingJob:
    """A job at its very start."""
    plan = make_plan(config, root)
    prepared = run_to_end(prepare(open_dataset(plan.config.data, root), plan.config.training.seed, False))
    configure_process(plan)
    return build_job(plan, prepared)


def events_of(job: TrainingJob) -> Iterator[RunEvent]:
    """What the job says from where it stands, with an event for every step."""
    ticks = itertools.count()
    return train(job, Pacer(Control(), lambda: next(ticks) / 100, 0.0, open_sampler(torch.device("cpu"))))


def stepped(job: TrainingJob, steps: int) -> Iterator[RunEvent]:
    """The same, standing right after so many training steps."""
    events = events_of(job)
    for event in events:
        if isinstance(event, StepCompleted) and (event.phase, event.step) == ("train", steps):
            return events
    raise AssertionError(f"the job has fewer than {steps} steps")
