"""How many threads are worth starting: what the scheduler, a container and Slurm leave to this process."""

import os
from pathlib import Path

import pytest

from torchdeck.core.utils.cpus import usable_cpus


@pytest.fixture(autouse=True)
def _sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def test_the_scheduler_sets_the_limit_where_nothing_else_does(tmp_path: Path) -> None:
    assert usable_cpus({}, tmp_path) == 16


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "nonsense"}, 16),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ({"cpu.max": "10000000 100000\n"}, 16),
    ],
)
def test_a_container_s_quota_is_a_limit(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cpus({}, tmp_path) == cpus


def test_a_slurm_task_s_share_is_a_limit(tmp_path: Path) -> None:
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "5"}, tmp_path) == 5
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "many"}, tmp_path) == 16
