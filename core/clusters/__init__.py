"""Run studies on clusters (Slurm and Ray): the resources of one run, and cluster slots for the executor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..devices.slots import Slot


@dataclass(frozen=True, slots=True)
class RunResources:
    """The resources that one run gets on a cluster: GPUs (0: it trains on the CPU) and CPU cores."""

    gpus: int = 0
    cpus: int = 1

    @property
    def device(self) -> str:
        """The value of `training.device` for a process that sees only these resources."""
        if self.gpus > 1:
            return "cuda:" + ",".join(str(number) for number in range(self.gpus))
        return "cuda" if self.gpus else "cpu"


def cluster_slots(cluster: str, count: int, share: RunResources) -> tuple[Slot, ...]:
    """The slots of a cluster, one for each run that is submitted at a time; the cluster chooses where it trains."""
    threads = max(1, share.cpus // max(1, share.gpus))
    return tuple(Slot(f"{cluster} {number + 1}", share.device, threads) for number in range(count))


def with_absolute_paths(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request with absolute paths, for a process that starts in another folder."""
    return {**request, **{key: str(Path(request[key]).absolute()) for key in ("logs", "data")}}
