"""CPU cores and CUDA devices of this machine, detected without importing torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from ..utils.cpus import usable_cpus
from ..utils.timeouts import with_timeout

DRIVER_TIMEOUT = 10.0
"""Seconds to wait for the driver to list its devices."""

AMD = Path("/sys/class/kfd/kfd/topology/nodes")
"""Where Linux lists the devices of AMD's compute driver."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Physical cores, and the name of each CUDA device in the order of `cuda:N`; "" where the name is not known."""

    cores: int
    gpus: tuple[str, ...] = ()


class _Gpu(NamedTuple):
    uuid: str
    name: str


def this_machine(nvml: Any = None, environment: Mapping[str, str] = os.environ, amd: Path = AMD) -> Machine:
    """The machine that this process runs on; may take `DRIVER_TIMEOUT` seconds where the driver hangs."""
    gpus = _gpus(nvml, amd)
    names = [_name(called, gpus) for called in _visible(gpus, environment)]
    # CUDA counts devices by speed unless told otherwise, the driver by bus: names are certain among equal devices only.
    certain = len({gpu.name for gpu in gpus}) < 2 or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return Machine(cores(), tuple(names if certain else [""] * len(names)))


def cuda_devices() -> list[str]:
    """The devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    return _visible(_gpus(), os.environ)


def cores() -> int:
    """Physical cores, or fewer where this process may not use all of them."""
    allowed = usable_cpus()
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def driver_version(nvml: Any = None) -> str | None:
    """The version of NVIDIA's driver; None where it is not known."""
    return with_timeout(lambda: str(_opened(nvml).nvmlSystemGetDriverVersion()), DRIVER_TIMEOUT)()


def _gpus(nvml: Any = None, amd: Path = AMD) -> list[_Gpu]:
    """The devices in the driver's order: NVIDIA's as NVML lists them, AMD's as the kernel does."""

    def found() -> list[_Gpu]:
        driver = _opened(nvml)
        handles = [driver.nvmlDeviceGetHandleByIndex(number) for number in range(driver.nvmlDeviceGetCount())]
        return [
            _Gpu(str(driver.nvmlDeviceGetUUID(handle)), str(driver.nvmlDeviceGetName(handle))) for handle in handles
        ]

    return with_timeout(found, DRIVER_TIMEOUT)() or _amd_gpus(amd)


def _opened(nvml: Any) -> Any:
    """NVML, NVIDIA's management library: missing where there is no driver, and may hang where the driver is broken."""
    import pynvml

    driver = nvml or pynvml
    driver.nvmlInit()
    return driver


def _amd_gpus(nodes: Path) -> list[_Gpu]:
    """AMD's GPUs: nodes of the kernel's compute driver that have SIMD units; CPUs are nodes as well."""
    try:
        texts = [
            path.read_text() for path in sorted(nodes.glob("*/properties"), key=lambda path: int(path.parent.name))
        ]
    except (OSError, ValueError):
        return []
    return [_Gpu("", "AMD GPU") for text in texts if re.search(r"^simd_count [1-9]", text, re.MULTILINE)]


def _visible(gpus: list[_Gpu], environment: Mapping[str, str]) -> list[str]:
    """The devices that a process in this environment may use, as CUDA_VISIBLE_DEVICES names them.

    CUDA takes those before the first that is not there: `0,7,1` shows one device, and `-1` none.
    """
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(number) for number in range(len(gpus))]
    identifiers = [part.strip() for part in chosen.split(",")] if gpus else []
    return list(takewhile(lambda name: _is_there(name, gpus), identifiers))


def _is_there(identifier: str, gpus: list[_Gpu]) -> bool:
    """Whether a number, the beginning of a UUID or a part of a GPU (MIG) names a device."""
    if identifier.isdecimal():
        return int(identifier) < len(gpus)
    return identifier.startswith("MIG-") or (
        identifier.startswith("GPU-") and any(g.uuid.startswith(identifier) for g in gpus)
    )


def _name(identifier: str, gpus: list[_Gpu]) -> str:
    """The name of a device, given its number or the beginning of its UUID; "" for a MIG partition, which has none."""
    if identifier.isdecimal():
        return gpus[int(identifier)].name
    return next((gpu.name for gpu in gpus if gpu.uuid.startswith(identifier)), "")
