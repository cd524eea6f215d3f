"""What this machine has to train on, asked without torch: its cores, and the CUDA devices that its driver tells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psutil

from ..utils.timeouts import with_timeout

DRIVER_TIMEOUT = 10.0
"""Seconds that the driver has to tell its devices."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Physical cores, and the name of each CUDA device as `cuda:N` counts them; "" for one that is not told."""

    cores: int
    gpus: tuple[str, ...] = ()


class _Gpu(NamedTuple):
    uuid: str
    name: str


def this_machine(nvml: Any = None, environment: Mapping[str, str] = os.environ) -> Machine:
    """The machine that this process runs on; a driver that hangs is waited for, a while."""
    gpus = _gpus(nvml)
    names = [_name(called, gpus) for called in _visible(gpus, environment)]
    # CUDA counts by speed unless it is told, the driver by bus: among unlike devices a name may be another's.
    certain = len({gpu.name for gpu in gpus}) < 2 or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return Machine(cores(), tuple(names if certain else [""] * len(names)))


def cuda_devices() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each device that this process may use."""
    return _visible(_gpus(), os.environ)


def cores() -> int:
    """Physical cores, or fewer where this process may not use all."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _gpus(nvml: Any = None) -> list[_Gpu]:
    """The devices that the driver has, in its order."""

    def found() -> list[_Gpu]:
        import pynvml

        driver = nvml or pynvml
        # Loads the driver's library, which is absent where there is no driver and may hang where it is ill.
        driver.nvmlInit()
        handles = [driver.nvmlDeviceGetHandleByIndex(number) for number in range(driver.nvmlDeviceGetCount())]
        return [
            _Gpu(str(driver.nvmlDeviceGetUUID(handle)), str(driver.nvmlDeviceGetName(handle))) for handle in handles
        ]

    return with_timeout(found, DRIVER_TIMEOUT)() or []


def _visible(gpus: list[_Gpu], environment: Mapping[str, str]) -> list[str]:
    """The devices that a process in this environment may use, as CUDA_VISIBLE_DEVICES calls them."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(number) for number in range(len(gpus))]
    return [part.strip() for part in chosen.split(",") if part.strip()] if gpus else []


def _name(identifier: str, gpus: list[_Gpu]) -> str:
    """The name of a device by its number or the beginning of its UUID; "" for a part of one, which has none."""
    if identifier.isdecimal():
        return gpus[int(identifier)].name if int(identifier) < len(gpus) else ""
    return next((gpu.name for gpu in gpus if gpu.uuid.startswith(identifier)), "")
