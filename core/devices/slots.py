"""Where the runs of a study train: `cpu:2`, `0,1`, `0+1,2+3` or `auto` as slots; each slot trains one run at a time."""

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
    """One place to train: its name, and what a process there gets (environment, device, threads).

    A place of several devices (`cuda:0,1`, `cpu:2`) trains one run over all of them.
    """

    name: str
    device: str = "auto"
    threads: int | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def gpus(self) -> list[str]:
        """What CUDA_VISIBLE_DEVICES calls the GPUs of the slot; none for a slot that names none."""
        return [gpu for gpu in self.environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]


def slot_on(slot: str, host: str) -> str:
    """A slot by its name, and the machine that has it."""
    return f"{slot} on {host}"


def parse_slots(text: str) -> list[Slot]:
    """The slots of a `--devices` text: `auto`, `cpu:2`, or devices with `,` between slots and `+` within one.

    Threads are divided among the processes where there are several.

    Raises:
        InputError: it is not of that form, or names a device that is not here.
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
        raise InputError(f"'{text}' names no devices", _HINT)
    if len(set(map(int, devices))) < len(devices):
        raise InputError(f"'{text}' names a device twice", "runs that share a device slow each other; name each once")
    return _cuda_slots([list(map(int, slot)) for slot in slots])


def _cpu_slots(sizes: list[int]) -> list[Slot]:
    """Slots of so many processes each."""
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
        why = f"there are {len(available)} CUDA devices" if available else "no CUDA device is to be had here"
        raise InputError(f"device {missing[0]}: {why}", _HINT)
    threads = _threads(sum(map(len, slots)))
    # nvidia-smi counts by bus, CUDA by speed unless it is told.
    order = {} if "CUDA_VISIBLE_DEVICES" in os.environ else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [_cuda_slot(slot, available, threads, order) for slot in slots]


def _cuda_slot(numbers: list[int], available: list[str], threads: int | None, order: dict[str, str]) -> Slot:
    """A process there sees only these devices, and counts them from 0."""
    visible = {**order, "CUDA_VISIBLE_DEVICES": ",".join(available[number] for number in numbers)}
    device = "cuda" if len(numbers) == 1 else f"cuda:{','.join(map(str, range(len(numbers))))}"
    return Slot(f"cuda {'+'.join(map(str, numbers))}", device, threads, visible)


def _threads(processes: int) -> int | None:
    """What each of several processes gets; None where the only one may have what torch finds."""
    return None if processes == 1 else max(1, cores() // processes)
