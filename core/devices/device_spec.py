"""Where a run trains: what `training.device` and `--devices` mean, as the devices of its ranks."""

from __future__ import annotations

import re

from ..errors import InputError

MAX_RANKS = 1024
DEVICE_PATTERN = r"^(auto|cpu(:[1-9]\d{0,3})?|cuda(:\d{1,3}(,\d{1,3})*)?)$"
"""What `training.device` may be."""

_HINT = "write 4 for so many GPUs, 0,1 for these two, cuda:N for one, cpu:2 for two processes on the CPU, or auto"


_LISTED = re.compile(r"\s*cuda:\d+(?:,\d+)*\s*(?=,|$)|[^,]+")


def split_list(text: str) -> list[str]:
    """The texts between commas, of which `cuda:0,1` is one."""
    return [part for found in _LISTED.findall(text) if (part := found.strip())]


def devices_of(device: str) -> tuple[str, ...]:
    """The device of each rank that a machine has: `cpu:2` is two processes, `cuda:0,1` one for each of two GPUs."""
    kind, _, which = device.partition(":")
    if kind == "cpu" and which:
        return ("cpu",) * int(which)
    return tuple(f"{kind}:{int(number)}" for number in which.split(",")) if which else (device,)


def parse_devices(devices: str) -> str:
    """The `training.device` of a `--devices` text: a number of GPUs, a list of them, `cpu:N` or `auto`.

    Raises:
        InputError: it is not of that form.
    """
    wanted = devices.strip()
    if re.fullmatch(r"[1-9]\d{0,3}", wanted):
        count = int(wanted)
        return "auto" if count == 1 else "cuda:" + ",".join(map(str, range(count)))
    if re.fullmatch(r"\d{1,3}(,\d{1,3})+", wanted):
        return f"cuda:{wanted}"
    if re.fullmatch(DEVICE_PATTERN, wanted):
        return wanted
    raise InputError(f"'{devices}' names no devices", _HINT)
