"""Parse device settings: `training.device` and `--devices` as the device of each rank."""

from __future__ import annotations

import re

from ..errors import InputError

MAX_RANKS = 1024
DEVICE_PATTERN = r"^(auto|cpu(:[1-9]\d{0,3})?|cuda(:\d{1,3}(,\d{1,3})*)?)$"
"""The valid values of `training.device`."""

_HINT = "write 4 for four GPUs, 0,1 for these two, cuda:N for one, cpu:2 for two processes on the CPU, or auto"


_LISTED = re.compile(r"\s*cuda:\d+(?:,\d+)*\s*(?=,|$)|[^,]+")


def split_list(text: str) -> list[str]:
    """Split a text at commas, but not inside a device list: `cuda:0,1` stays one item."""
    return [part for found in _LISTED.findall(text) if (part := found.strip())]


def devices_of(device: str) -> tuple[str, ...]:
    """The device of each rank on one machine: `cpu:2` is two processes, `cuda:0,1` one process on each of two GPUs."""
    kind, _, which = device.partition(":")
    if kind == "cpu" and which:
        return ("cpu",) * int(which)
    return tuple(f"{kind}:{int(number)}" for number in which.split(",")) if which else (device,)


def parse_devices(devices: str) -> str:
    """The value of `training.device` for a `--devices` text: a number of GPUs, a list of them, `cpu:N` or `auto`.

    Raises:
        InputError: the text is not of that form.
    """
    wanted = devices.strip()
    if re.fullmatch(r"[1-9]\d{0,3}", wanted):
        count = int(wanted)
        return "auto" if count == 1 else "cuda:" + ",".join(map(str, range(count)))
    if re.fullmatch(r"\d{1,3}(,\d{1,3})+", wanted):
        return f"cuda:{wanted}"
    if re.fullmatch(DEVICE_PATTERN, wanted):
        return wanted
    raise InputError(f"'{devices}' is not a device or a list of devices", _HINT)
