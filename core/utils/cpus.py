"""How many CPUs this process may use: what the scheduler, a container's quota and Slurm leave it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cpus(environment: Mapping[str, str] = os.environ, cgroups: Path = _CGROUPS) -> int:
    """The CPUs that threads of this process can keep busy, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = environment.get("SLURM_CPUS_PER_TASK", "")
    limits = [allowed, _quota(cgroups), int(given) if given.isdecimal() else 0]
    return max(1, min(limit for limit in limits if limit))


def _quota(cgroups: Path) -> int:
    """The CPUs of this process's control group, rounded up; 0 without a limit."""
    limits = [_cpus(folder) for folder in _folders(cgroups)]
    return math.ceil(min((limit for limit in limits if limit), default=0))


def _folders(cgroups: Path) -> list[Path]:
    """The control group of this process and those above it, of version 2 or 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    # A line is number:controllers:path; without controllers it is version 2.
    places = [line.split(":", 2)[1:] for line in lines if line.count(":") >= 2]
    found = [
        (cgroups if not names else cgroups / "cpu") / path.lstrip("/")
        for names, path in places
        if not names or "cpu" in names.split(",")
    ]
    # Within a container its own group is often mounted as the root.
    return [
        folder
        for start in [*found, cgroups, cgroups / "cpu"]
        for folder in (start, *start.parents)
        if folder != cgroups.parent
    ]


def _cpus(folder: Path) -> float:
    """The quota of one group over its period; 0 without one."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return 0.0
    return int(quota) / int(period) if quota.isdecimal() and int(period) else 0.0
