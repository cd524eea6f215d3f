"""The devices of this machine as choices for `training.device` and `--devices`, each with a description."""

from __future__ import annotations

from typing import NamedTuple

from ...core.devices.hardware import Machine
from ..format.values import safe


class DeviceChoice(NamedTuple):
    """A value to choose, and what it means."""

    value: str
    meaning: str


def run_devices(machine: Machine) -> list[DeviceChoice]:
    """Values of `training.device` that this machine supports."""
    gpus = len(machine.gpus)
    choices = [DeviceChoice("auto", "a GPU if available, else the CPU"), DeviceChoice("cpu", "one process on the CPU")]
    if gpus > 1:
        every = ",".join(map(str, range(gpus)))
        choices.append(DeviceChoice(f"cuda:{every}", f"all {gpus} GPUs; they share every batch"))
    choices += [DeviceChoice(f"cuda:{number}", safe(name) or "one GPU") for number, name in enumerate(machine.gpus)]
    on_the_cpu = "processes on the CPU that share every batch"
    return choices + [DeviceChoice(f"cpu:{count}", f"{count} {on_the_cpu}") for count in _counts(machine.cores)]


def study_devices(machine: Machine) -> list[DeviceChoice]:
    """Values of a study's `--devices` that this machine supports."""
    gpus = [str(number) for number in range(len(machine.gpus))]
    choices = [DeviceChoice("auto", "one run at a time, on a GPU if available")]
    if len(gpus) > 1:
        choices.append(DeviceChoice(",".join(gpus), f"{len(gpus)} runs at a time, one per GPU"))
        choices.append(DeviceChoice("+".join(gpus), f"one run at a time, on all {len(gpus)} GPUs"))
    if len(gpus) > 3 and len(gpus) % 2 == 0:
        pairs = ",".join("+".join(pair) for pair in zip(gpus[::2], gpus[1::2], strict=True))
        choices.append(DeviceChoice(pairs, f"{len(gpus) // 2} runs at a time, each on two GPUs"))
    return choices + [
        DeviceChoice(f"cpu:{count}", f"{count} runs at a time on the CPU") for count in _counts(machine.cores)
    ]


def _counts(cores: int) -> list[int]:
    """Numbers of processes to choose from: powers of two, and the number of cores."""
    powers = [2**power for power in range(1, cores.bit_length()) if 2**power < cores]
    return [*powers, cores] if cores > 1 else []
