"""A management library of the GPU that is missing, fails or hangs costs the figures, never the training."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fault_counts import Faults

from torchdeck.core.devices.torch_device import NvidiaFigures, open_sampler
from torchdeck.core.utils.timeouts import with_timeout


class LibraryError(Exception):
    """What the library raises."""


def library(**changes: Any) -> SimpleNamespace:
    """A management library that works, but for the changes."""
    whole: dict[str, Any] = {
        "NVMLError": LibraryError,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=3, total=8),
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=50),
        "nvmlDeviceGetPowerUsage": lambda _: 250_000,
        "nvmlDeviceGetTemperature": lambda *_: 61,
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700_000,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: 5_000,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [
            SimpleNamespace(pid=pid, usedGpuMemory=pid + 9) for pid in (1, os.getpid())
        ],
    }
    return SimpleNamespace(**{**whole, **changes})


def refuses(*_: object) -> Any:
    raise LibraryError


def test_a_library_that_works_tells_all_figures() -> None:
    assert with_timeout(NvidiaFigures(library(), "1"), 60)() == {
        "memory_used": 3, "memory_total": 8, "utilization": 0.5, "temperature": 61.0, "power": 250.0,
        "power_limit": 700.0, "energy": 5.0, "memory_driver": os.getpid() + 9,
    }  # fmt: skip


def test_a_part_of_a_gpu_is_found_by_its_own_name() -> None:
    def handle(uuid: bytes) -> bytes:
        return uuid if uuid == b"MIG-1" else refuses()

    told = with_timeout(NvidiaFigures(library(nvmlDeviceGetHandleByUUID=handle), "1"), 60)()
    assert told is not None
    assert told["memory_used"] == 3


def test_a_figure_that_is_refused_costs_that_figure(faults: Faults) -> None:
    told = with_timeout(NvidiaFigures(library(nvmlDeviceGetPowerUsage=refuses), "1"), 60)()
    faults("device libraries")
    assert told is not None
    assert (told["power"], told["temperature"]) == (None, 61.0)


@pytest.mark.parametrize("nvml", [library(nvmlInit=refuses), SimpleNamespace()], ids=["refuses", "missing"])
def test_a_library_that_is_missing_or_refuses_tells_nothing(faults: Faults, nvml: SimpleNamespace) -> None:
    faults("device libraries")
    assert with_timeout(NvidiaFigures(nvml, "1"), 60)() is None


@pytest.mark.parametrize("name", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetPowerUsage"])
def test_a_library_that_hangs_is_waited_for_once_and_not_for_long(faults: Faults, name: str) -> None:
    answers = threading.Event()

    def hangs(*_: object) -> Any:
        answers.wait(60)
        return 1000

    sample = with_timeout(NvidiaFigures(library(**{name: hangs}), "1"), 0.02)
    begun = time.monotonic()
    told = [sample() for _ in range(1000)]
    took = time.monotonic() - begun
    faults("device libraries")
    assert told == [None] * 1000
    # Asked as it is, the library would have been waited for a minute.
    assert took < 10
    answers.set()
    later = with_timeout(NvidiaFigures(library(), "1"), 60)()
    assert later is not None


def test_a_batch_waits_a_twentieth_of_a_second_for_a_library_that_hangs(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, waited = threading.Event(), list[float]()
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlInit=lambda: answers.wait(60)))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1"))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 7)
    for _ in range(5):
        sample = open_sampler(torch.device("cuda:0"))
        begun = time.monotonic()
        assert sample(3).memory_process == 7
        waited.append(time.monotonic() - begun)
    answers.set()
    faults("device libraries", len(waited))
    # The fastest of several, since this machine may have other work to do.
    assert min(waited) < 0.5


def test_a_library_that_answers_again_is_heard_again(faults: Faults) -> None:
    answers = threading.Event()
    sample = with_timeout(lambda: answers.wait(60), 0.02)
    assert sample() is None
    answers.set()
    faults("device libraries")
    end = time.monotonic() + 30
    while sample() is None:
        assert time.monotonic() < end
