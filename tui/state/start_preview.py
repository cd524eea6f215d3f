"""Preview of a start: steps, model size, memory and expected time, from the plans of its runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.config import ExperimentConfig, ranks_of, to_plain
from ...core.runs.index import RunRow
from ...core.training.estimate import Estimate, from_runs, measure
from ...core.utils.flatten import flatten
from ..format.plan_text import batch_text, rate_text
from ..format.values import as_text


@dataclass(frozen=True, slots=True)
class StartPreview:
    """What starting these runs would take."""

    runs: tuple[ExperimentConfig, ...]
    train_images: int
    parameters: int
    forward_flops: int
    memory: int
    device: str
    estimate: Estimate | None
    disk: int = 0
    """Bytes of decoded images that are to be written first."""
    notes: tuple[str, ...] = ()
    """Remarks on the data, as sentences."""
    automatic: tuple[tuple[str, str], ...] = ()
    """The settings that are `auto` in the first run, and what they became there."""

    @property
    def steps(self) -> int:
        """Optimizer steps of all runs together."""
        return sum(math.ceil(self.train_images / run.training.batch_size) * run.training.epochs for run in self.runs)

    @property
    def ranks(self) -> int:
        """Devices per run; the largest number of any run."""
        return max(ranks_of(run) for run in self.runs)

    @property
    def shares(self) -> list[str]:
        """Batch per device and scaled learning rate, if several devices or a scaling rule change them."""
        batches = {batch_text(run.training.batch_size, ranks_of(run)) for run in self.runs}
        rates = {rate_text(run) for run in self.runs}
        found = [f"batch {batches.pop()}"] if len(batches) == 1 and self.ranks > 1 else []
        return [*found, *(f"lr {rate}" for rate in rates if rate and len(rates) == 1)]

    @property
    def seconds(self) -> float | None:
        """Expected seconds of all runs together; None if unknown."""
        if self.estimate is None:
            return None
        return self.estimate.seconds_per_epoch * sum(run.training.epochs for run in self.runs)


@dataclass(slots=True)
class Previewer:
    """Makes previews and keeps measured times; used in worker threads, since it may be the first to import torch."""

    data: Path
    _measured: dict[str, Estimate] = field(default_factory=dict[str, Estimate])

    def preview(self, runs: tuple[ExperimentConfig, ...], earlier: Sequence[RunRow]) -> StartPreview:
        """Plan the runs and sum them up; `earlier` runs serve to estimate the time."""
        from ...core.devices.torch_device import device_name
        from ...core.training.plan import make_plan

        plans = [make_plan(config, self.data) for config in runs]
        first = plans[0]
        name = device_name(first.device)
        devices = f"{first.ranks} x {name}" if first.ranks > 1 else name
        return StartPreview(
            runs=runs,
            train_images=first.train_images,
            parameters=first.parameters,
            forward_flops=first.forward_flops,
            memory=max(plan.memory for plan in plans),
            device=first.config.training.device,
            estimate=self._measured.get(_key(first.config)) or from_runs(first.config, devices, earlier),
            disk=max(plan.disk for plan in plans),
            notes=first.notes,
            automatic=_automatic(runs[0], first.config),
        )

    def measure_epoch(self, config: ExperimentConfig) -> None:
        """Measure the time of an epoch by a few steps in a child process."""
        from ...core.training.plan import make_plan

        self._measured[_key(make_plan(config, self.data).config)] = measure(config, self.data)


def _automatic(asked: ExperimentConfig, planned: ExperimentConfig) -> tuple[tuple[str, str], ...]:
    """The settings that are `auto`, with the values that the plan chose; without those that are chosen later."""
    resolved = flatten(to_plain(planned))
    auto = [path for path, value in flatten(to_plain(asked)).items() if value == "auto"]
    return tuple((path, as_text(resolved[path])) for path in auto if resolved[path] != "auto")


def _key(config: ExperimentConfig) -> str:
    """What a measured time depends on: all settings but the number of epochs."""
    plain = to_plain(config)
    plain["training"] = {key: value for key, value in plain["training"].items() if key != "epochs"}
    return str(plain)
