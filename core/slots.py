"""Where the runs of a study train: `cpu:2`, `0,1` or `auto` as slots, each a process of its own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

import psutil

from core.bounded import bounded
from core.errors import InputError

_MEND = "write cpu:2 for two processes on the CPU, 0,1 for one on each of two CUDA devices, or auto"
PATIENCE = 10.0
"""Seconds that the driver has to tell how many devices there are."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One place to train: its name, and what a process there gets (environment, device, threads)."""

    name: str
    device: str = "auto"
    threads: int | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])


def parse_slots(text: str) -> list[Slot]:
    """The slots of a `--devices` text; threads are divided where there are several.

    Raises:
        InputError: it is not of that form, or names a device that is not here.
    """
    wanted = text.strip() or "auto"
    if wanted == "auto":
        return [Slot("auto")]
    if match := re.fullmatch(r"cpu(?::([1-9]\d{0,2}))?", wanted):
        count = int(match[1] or 1)
        threads = None if count == 1 else max(1, _cores() // count)
        return [Slot(f"cpu {number + 1}" if count > 1 else "cpu", "cpu", threads) for number in range(count)]
    if not re.fullmatch(r"\d{1,3}(,\d{1,3})*", wanted):
        raise InputError(f"'{text}' names no devices", _MEND)
    numbers = [int(part) for part in wanted.split(",")]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"'{text}' names a device twice", "runs that share a device slow each other; name each once")
    return _cuda_slots(numbers)


def _cuda_slots(numbers: list[int]) -> list[Slot]:
    here = _cuda_devices()
    if missing := [number for number in numbers if number >= len(here)]:
        told = f"there are {len(here)} CUDA devices" if here else "no CUDA device is to be had here"
        raise InputError(f"device {missing[0]}: {told}", _MEND)
    threads = None if len(numbers) == 1 else max(1, _cores() // len(numbers))
    # nvidia-smi counts by bus, CUDA by speed unless it is told.
    order = {} if "CUDA_VISIBLE_DEVICES" in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [Slot(f"cuda {n}", "cuda", threads, {**order, "CUDA_VISIBLE_DEVICES": here[n]}) for n in numbers]


def _cuda_devices() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each device that this process may use; asked of the driver, without torch."""
    import pynvml

    def count() -> int:
        # Loads the driver's library, which is absent where there is no driver and may hang where it is ill.
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCount()

    all_here = [str(number) for number in range(bounded(count, PATIENCE)() or 0)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return all_here
    return [part.strip() for part in visible.split(",") if part.strip()] if all_here else []


def _cores() -> int:
    """Physical cores, or fewer where this process may not use all."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
