"""Runs the tests of a GPU's code path on null CUDA, where PyTorch's own CUDA code works on stub libraries."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE))
from build import build, environment, why_not  # noqa: E402


@pytest.fixture(scope="session")
def null_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stub libraries, built once for all processes that test."""
    if reason := why_not():
        pytest.skip(reason)
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "null-cuda"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "libcuda.so.1").exists():
            build(folder)
    return folder


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("file", sorted(path.name for path in (HERE / "inside").glob("test_*.py")))
def test_on_null_cuda(file: str, null_cuda: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(HERE / "inside" / file)]
    added = {**environment(null_cuda), "PYTHONPATH": str(HERE / "inside")}
    shown = subprocess.run(command, env={**os.environ, **added}, capture_output=True, text=True, check=False)
    assert not shown.returncode, shown.stdout[-8000:] + shown.stderr[-2000:]
