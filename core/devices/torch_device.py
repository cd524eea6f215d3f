"""Torch devices: choose and name one; sample memory, utilization, temperature and power (NVML, or psutil on a CPU)."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import psutil
import torch

from ..events import DeviceSampled
from ..utils.timeouts import with_timeout
from .hardware import driver_version

SAMPLE_TIMEOUT = 0.05
"""Seconds that training waits for a sample of the device; normally it takes a millisecond."""


def pick_device(wanted: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `cuda:N`, with its index; `auto` prefers CUDA."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda:0" if wanted == "cuda" else wanted)


def device_name(device: torch.device) -> str:
    """The product name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()} ({os.cpu_count()} threads)"


def processor() -> str:
    """The product name of the CPU."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def peak_memory(device: torch.device) -> int:
    """Bytes: the peak allocation on a CUDA device since the run started; on a CPU this process's memory now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def computes_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; others emulate it."""
    if device.type == "cuda":
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (8, 0)
    # Absent from older releases of torch.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def environment(device: torch.device) -> dict[str, Any]:
    """Versions of the software and the processor, as run.json records them."""
    on_gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "driver": driver_version() if on_gpu else None,
        "cudnn": _cudnn_version() if on_gpu else None,
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))) if on_gpu else None,
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cpus": os.cpu_count(),
    }


def _cudnn_version() -> int | None:
    try:
        return torch.backends.cudnn.version()
    except RuntimeError:  # another version than torch was built with
        return None


Sampler = Callable[[int], DeviceSampled]


def open_sampler(device: torch.device) -> Sampler:
    """A function from the current step to a sample of the device; on a CPU, of this process's memory and core use."""
    return _nvidia_sampler(device) if device.type == "cuda" else _process_sampler()


def _process_sampler() -> Sampler:
    process = psutil.Process()
    cores = os.cpu_count() or 1
    process.cpu_percent(None)

    def sample(step: int) -> DeviceSampled:
        return DeviceSampled(
            step=step,
            memory_process=process.memory_info().rss,
            memory_total=psutil.virtual_memory().total,
            memory_used=psutil.virtual_memory().used,
            utilization=min(1.0, process.cpu_percent(None) / 100 / cores),
        )

    return sample


def _nvidia_sampler(device: torch.device) -> Sampler:
    import pynvml

    uuid = torch.cuda.get_device_properties(device).uuid
    figures = with_timeout(NvidiaFigures(pynvml, f"GPU-{uuid}"), SAMPLE_TIMEOUT)

    def sample(step: int) -> DeviceSampled:
        return DeviceSampled(step=step, memory_process=torch.cuda.memory_reserved(device), **(figures() or {}))

    return sample


class NvidiaFigures:
    """Memory, utilization, temperature, power and energy of a GPU or MIG partition (NVML); None where not reported."""

    def __init__(self, nvml: Any, uuid: str) -> None:
        self._nvml, self._uuid = nvml, uuid
        self._handle: Any = None

    def __call__(self) -> dict[str, Any]:
        nvml = self._nvml
        if self._handle is None:
            # Loads the driver's library, which is missing without a driver and may hang where the driver is broken.
            nvml.nvmlInit()
            # CUDA gives a MIG partition a UUID of its own, without saying that it is a partition.
            self._handle = self._query(lambda: self._by_uuid("GPU")) or self._by_uuid("MIG")
        handle = self._handle
        memory = self._query(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        use = self._query(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        power = self._query(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        limit = self._query(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        energy = self._query(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        degrees = self._query(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        processes = self._query(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle)) or ()
        return {
            "memory_used": int(memory.used) if memory else None,
            "memory_total": int(memory.total) if memory else None,
            "utilization": None if use is None else float(use) / 100,
            "temperature": None if degrees is None else float(degrees),
            "power": None if power is None else float(power) / 1000,
            "power_limit": None if limit is None else float(limit) / 1000,
            "energy": None if energy is None else float(energy) / 1000,
            "memory_driver": next((found.usedGpuMemory for found in processes if found.pid == os.getpid()), None),
        }

    def _by_uuid(self, kind: str) -> Any:
        return self._nvml.nvmlDeviceGetHandleByUUID(f"{kind}-{self._uuid}".encode())

    def _query(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except self._nvml.NVMLError:
            return None
