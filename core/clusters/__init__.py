"""Clusters that place a study's runs on their machines: what a run gets there, as places of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..devices.slots import Slot


@dataclass(frozen=True, slots=True)
class Share:
    """What one run gets of a cluster: GPUs (none: it trains on the CPU) and CPU cores."""

    gpus: int = 0
    cpus: int = 1

    @property
    def device(self) -> str:
        """The `training.device` of a process that sees nothing but its share."""
        if self.gpus > 1:
            return "cuda:" + ",".join(str(number) for number in range(self.gpus))
        return "cuda" if self.gpus else "cpu"


def places(cluster: str, count: int, share: Share) -> tuple[Slot, ...]:
    """As many runs as are given to a cluster at a time; where each trains is the cluster's choice."""
    threads = max(1, share.cpus // max(1, share.gpus))
    return tuple(Slot(f"{cluster} {number + 1}", share.device, threads) for number in range(count))


def from_anywhere(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request whose folders are found from wherever a process starts."""
    return {**request, **{key: str(Path(request[key]).absolute()) for key in ("logs", "data")}}
