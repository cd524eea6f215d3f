"""What this machine offers to train on, as the texts that settings and `--devices` take, each with what it means."""

from __future__ import annotations

from typing import NamedTuple

from ...core.devices.hardware import Machine
from ..format.values import safe


class Offer(NamedTuple):
    """A text to choose, and what it means."""

    value: str
    meaning: str


def for_a_run(machine: Machine) -> list[Offer]:
    """The values of `training.device` that can be had here."""
    gpus = len(machine.gpus)
    offers = [Offer("auto", "a GPU where there is one, else the CPU"), Offer("cpu", "one process on the CPU")]
    if gpus > 1:
        every = ",".join(map(str, range(gpus)))
        offers.append(Offer(f"cuda:{every}", f"all {gpus} GPUs, which share every batch"))
    offers += [Offer(f"cuda:{number}", safe(name) or "one GPU") for number, name in enumerate(machine.gpus)]
    on_the_cpu = "processes on the CPU, which share every batch"
    return offers + [Offer(f"cpu:{count}", f"{count} {on_the_cpu}") for count in _counts(machine.cores)]


def for_a_study(machine: Machine) -> list[Offer]:
    """The slots of a study that can be had here."""
    gpus = [str(number) for number in range(len(machine.gpus))]
    offers = [Offer("auto", "one run at a time, on a GPU where there is one")]
    if len(gpus) > 1:
        offers.append(Offer(",".join(gpus), f"{len(gpus)} runs at a time, each on a GPU of its own"))
        offers.append(Offer("+".join(gpus), f"one run at a time, over all {len(gpus)} GPUs"))
    if len(gpus) > 3 and len(gpus) % 2 == 0:
        pairs = ",".join("+".join(pair) for pair in zip(gpus[::2], gpus[1::2], strict=True))
        offers.append(Offer(pairs, f"{len(gpus) // 2} runs at a time, each over two GPUs"))
    return offers + [Offer(f"cpu:{count}", f"{count} runs at a time on the CPU") for count in _counts(machine.cores)]


def _counts(cores: int) -> list[int]:
    """Numbers of processes to choose from: powers of two, and all cores."""
    powers = [2**power for power in range(1, cores.bit_length()) if 2**power < cores]
    return [*powers, cores] if cores > 1 else []
