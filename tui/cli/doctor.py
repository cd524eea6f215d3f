"""`torchdeck doctor`: versions, devices, data sets, terminal and disk space, to diagnose problems."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

import torch

from ...core.devices.torch_device import device_name, free_memory, pick_device
from ..format.values import size
from .datasets import dataset_rows


def examine(logs: Path, data: Path) -> dict[str, str]:
    """Versions, devices, data sets, terminal and free disk space, each as a text."""
    found = {"torchdeck": _version("torchdeck"), "python": f"{platform.python_version()} ({platform.system()})"}
    found |= {name: _version(name) for name in ("torch", "torchvision", "numpy", "pydantic", "rich", "typer")}
    found |= _devices()
    here = [row["name"] for row in dataset_rows(data) if row["here"] == "yes"]
    found["data sets here"] = ", ".join(here)
    found["data folder"] = f"{data} ({_disk(data)})"
    found["logs folder"] = f"{logs} ({_disk(logs)})"
    found["terminal"] = _terminal()
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    cpu = torch.device("cpu")
    found = {"cpu": f"{device_name(cpu)}, {torch.get_num_threads()} threads, {size(free_memory(cpu))} free"}
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        found[str(device)] = f"{device_name(device)}, {size(free_memory(device))} free"
    if not torch.cuda.is_available():
        found["cuda"] = f"none: {_why_no_gpu()}"
    others = [kind for kind in ("mps", "xpu") if getattr(torch, kind, None) and getattr(torch, kind).is_available()]
    found |= dict.fromkeys(others, "present, but not supported")
    auto = pick_device("auto")
    found["training.device=auto"] = f"{auto} ({device_name(auto)})"
    return found


def _why_no_gpu() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built without CUDA"
    return f"torch is built for CUDA {torch.version.cuda}, but the driver shows no device"


def _disk(folder: Path) -> str:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    writable = "" if os.access(place, os.W_OK) else ", not writable"
    return f"{size(shutil.disk_usage(place).free)} free{writable}"


def _terminal() -> str:
    width, height = shutil.get_terminal_size()
    kind = os.environ.get("TERM", "no TERM")
    colour = "no colour" if "NO_COLOR" in os.environ else os.environ.get("COLORTERM", "colours as of TERM")
    return f"{kind}, {width}x{height}, {colour}" if sys.stderr.isatty() else "none (output is redirected)"
