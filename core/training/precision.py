"""Resolve `precision=auto` on a CPU: bf16 where a short measurement finds it faster, else fp32.

`python -P -m torchdeck.core.training.precision < plan.json` measures in a process of its own, so that the random state,
threads and memory of the run are left alone.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from ..config import ExperimentConfig, parse_config, to_plain
from ..data.image_spec import ImageSpec
from ..models import build
from ..utils.gc_tuning import collect_rarely
from .plan import Plan

ROUNDS = 5
STEP_WORK = 2e10
"""Approximate FLOPs of one timed step, a few tenths of a second."""
MIN_SPEEDUP = 1.05
"""How much faster bf16 must be to be chosen, because it rounds more coarsely."""
TIMEOUT = 120.0


CHECK = (sys.executable, "-P", "-m", "torchdeck.core.training.precision")


def choose_precision(plan: Plan, check: Sequence[str] = CHECK) -> Literal["fp32", "bf16"]:
    """The faster precision for a plan on this CPU, measured in a child process; fp32 where that fails."""
    spec = asdict(plan.facts.spec)
    request = {"config": to_plain(plan.config), "spec": spec, "batch": timed_batch_size(plan)}
    try:
        child = subprocess.run(
            check, input=json.dumps(request), capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        return "bf16" if float(json.loads(child.stdout)["speedup"]) >= MIN_SPEEDUP else "fp32"
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        # The measurement only saves time: fp32 is always right.
        return "fp32"


def timed_batch_size(plan: Plan) -> int:
    """Images in a timed step: those of a real step, or fewer where that would take long."""
    most = math.ceil(STEP_WORK / (3 * max(1, plan.forward_flops)))
    return max(2, min(plan.config.training.batch_size // plan.config.training.accumulation, most))


def speedup(config: ExperimentConfig, spec: ImageSpec, batch: int) -> float:
    """How many times faster a bf16 step is than an fp32 step: the best of a few of each, timed in turn.

    The best, since whatever else the machine does only makes a step slower.
    """
    # One thread: threads wait for each other, so that one that shares its core would decide the comparison.
    torch.set_num_threads(1)
    layout = torch.channels_last if config.training.channels_last else torch.contiguous_format
    model = build(config.model, spec).to(memory_format=layout)
    images = torch.randn(batch, spec.channels, spec.height, spec.width).contiguous(memory_format=layout)
    labels = torch.arange(batch) % spec.classes
    pairs = [[_step(model, images, labels, half) for half in (False, True)] for _ in range(ROUNDS + 1)]
    exact, rounded = (min(times) for times in zip(*pairs[1:], strict=True))
    return exact / rounded


def _step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, half: bool) -> float:
    """Seconds of a forward and a backward pass."""
    started = time.perf_counter()
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    return time.perf_counter() - started


def main() -> None:
    """Print one JSON object."""
    collect_rarely()
    request: dict[str, Any] = json.load(sys.stdin)
    ratio = speedup(parse_config(request["config"]), ImageSpec(**request["spec"]), int(request["batch"]))
    sys.stdout.write(json.dumps({"speedup": ratio}))


if __name__ == "__main__":
    main()
