"""The devices of a run's ranks: host and name of each, and their samples combined into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..events import DeviceSampled, RunStarted

Fold = Callable[[Iterable[Any]], Any]


@dataclass(frozen=True, slots=True)
class RankDevice:
    """The host and device (`cuda:0`) of one rank, and the device's product name."""

    host: str
    device: str
    name: str


def rank_devices(started: RunStarted) -> tuple[RankDevice, ...]:
    """The device of each rank, in rank order; a run on one device has a single entry with an empty host."""
    if not started.ranks:
        return (RankDevice("", started.device, started.device_name),)
    keys = ("host", "device", "name")
    return tuple(RankDevice(*(str(rank.get(key, "")) for key in keys)) for rank in started.ranks)


def hosts(found: Iterable[RankDevice]) -> list[str]:
    """The distinct hosts of some devices."""
    return list(dict.fromkeys(place.host for place in found))


def device_text(started: RunStarted) -> str:
    """What a run trains on, in short: "cuda:0", "4 x cuda", "2 x cpu"."""
    found = rank_devices(started)
    if len(found) == 1:
        return found[0].device
    counts = Counter(place.device.partition(":")[0] for place in found)
    return ", ".join(f"{count} x {name}" for name, count in counts.items())


def name_text(started: RunStarted) -> str:
    """The product name of what a run trains on, and the number of hosts where there are several."""
    machines = len(hosts(rank_devices(started)))
    return started.device_name + (f" on {machines} hosts" if machines > 1 else "")


def combine_samples(samples: Mapping[int, DeviceSampled], found: Sequence[RankDevice]) -> DeviceSampled | None:
    """The samples of several ranks as one: mean utilization, highest temperature, the sum of everything else.

    Ranks that share a device share its memory, temperature and power; their utilization adds up.
    """
    if len(samples) < 2:
        return next(iter(samples.values()), None)
    shared: dict[object, list[DeviceSampled]] = {}
    for rank, sample in samples.items():
        place = found[rank] if rank < len(found) else None
        shared.setdefault((place.host, place.device) if place else rank, []).append(sample)
    devices = [_combined(ranks, memory=max, use=_shares, power=max) for ranks in shared.values()]
    return _combined(devices, memory=sum, use=_mean, power=sum)


def _combined(samples: Sequence[DeviceSampled], *, memory: Fold, use: Fold, power: Fold) -> DeviceSampled:
    """One sample made of several; a figure that none of them has is None."""

    def combine(name: str, fold: Fold) -> Any:
        values = [value for sample in samples if (value := getattr(sample, name)) is not None]
        return fold(values) if values else None

    return DeviceSampled(
        step=max(sample.step for sample in samples),
        memory_used=combine("memory_used", memory),
        memory_total=combine("memory_total", memory),
        memory_process=combine("memory_process", sum),
        utilization=combine("utilization", use),
        temperature=combine("temperature", max),
        power=combine("power", power),
        power_limit=combine("power_limit", power),
        energy=combine("energy", power),
        memory_driver=combine("memory_driver", sum),
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _shares(values: Iterable[float]) -> float:
    return min(1.0, sum(values))
