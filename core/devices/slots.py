"""Slots of a study, each training one run at a time: parse `cpu:2`, `0,1`, `0+1,2+3` or `auto`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from itertools import count

from ..errors import InputError
from .hardware import cores, cuda_devices

_HINT = (
    "write cpu:2 for two processes on the CPU, 0,1 for one on each of two CUDA devices, 0+1,2+3 for runs over two"
    " devices each, or auto"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One place to train: its name, and the device, threads and environment variables of a process there.

    A slot of several devices (`cuda:0,1`, `cpu:2`) trains one run over all of them.
    """

    name: str
    device: str = "auto"
    threads: int | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def gpus(self) -> list[str]:
        """The GPUs of the slot, as CUDA_VISIBLE_DEVICES names them; empty for a slot that names none."""
        return [gpu for gpu in self.environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]


def slot_on(slot: str, host: str) -> str:
    """A slot and its host as text: "cuda 0 on the-host"."""
    return f"{slot} on {host}"


def parse_slots(text: str) -> list[Slot]:
    """Parse a `--devices` text: `auto`, `cpu:2`, or devices with `,` between slots and `+` within one.

    Several processes share the CPU's threads evenly.

    Raises:
        InputError: the text is not of that form, or names a device that this machine does not have.
    """
    wanted = text.strip() or "auto"
    if wanted == "auto":
        return [Slot("auto")]
    if match := re.fullmatch(r"cpu:([1-9]\d{0,2})", wanted):
        wanted = ",".join(["cpu"] * int(match[1]))
    slots = [part.strip().split("+") for part in wanted.split(",")]
    devices = [device for slot in slots for device in slot]
    if all(device == "cpu" for device in devices):
        return _cpu_slots([len(slot) for slot in slots])
    if not all(re.fullmatch(r"\d{1,3}", device) for device in devices):
        raise InputError(f"'{text}' is not a list of devices", _HINT)
    if len(set(map(int, devices))) < len(devices):
        raise InputError(f"'{text}' names a device twice", "name each once; runs that share one slow each other down")
    return _cuda_slots([list(map(int, slot)) for slot in slots])


def _cpu_slots(sizes: list[int]) -> list[Slot]:
    """Slots with the given numbers of processes."""
    threads, names = _threads(sum(sizes)), count(1)
    slots: list[Slot] = []
    for size in sizes:
        name = "+".join(str(next(names)) for _ in range(size))
        device = "cpu" if size == 1 else f"cpu:{size}"
        slots.append(Slot("cpu" if sizes == [1] else f"cpu {name}", device, threads))
    return slots


def _cuda_slots(slots: list[list[int]]) -> list[Slot]:
    available = cuda_devices()
    if missing := [number for slot in slots for number in slot if number >= len(available)]:
        why = f"only {len(available)} CUDA devices are available" if available else "no CUDA device is available"
        raise InputError(f"there is no CUDA device {missing[0]}: {why}", _HINT)
    threads = _threads(sum(map(len, slots)))
    # nvidia-smi counts devices by bus, CUDA by speed unless told otherwise.
    order = {} if "CUDA_VISIBLE_DEVICES" in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [_cuda_slot(slot, available, threads, order) for slot in slots]


def _cuda_slot(numbers: list[int], available: list[str], threads: int | None, order: dict[str, str]) -> Slot:
    """A slot whose process sees only these devices, numbered from 0."""
    visible = {**order, "CUDA_VISIBLE_DEVICES": ",".join(available[number] for number in numbers)}
    device = "cuda" if len(numbers) == 1 else f"cuda:{','.join(map(str, range(len(numbers))))}"
    return Slot(f"cuda {'+'.join(map(str, numbers))}", device, threads, visible)


def _threads(processes: int) -> int | None:
    """CPU threads for each of several processes; None leaves a single process what torch chooses."""
    return None if processes == 1 else max(1, cores() // processes)
