"""The acceptance run for a GPU, rehearsed on null CUDA: in small, without judging any number."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

sys.path.append(str(ROOT / "tests" / "null_cuda"))
from build import why_not


def rehearsed(folder: Path, *only: str) -> dict[str, dict[str, object]]:
    """The result of each check by its name."""
    if reason := why_not():
        pytest.skip(reason)
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--rehearse", "--minutes", "30"]
    command += ["--data", str(folder / "data"), *(("--only", *only) if only else ())]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in shown.stdout.splitlines() if line.startswith("{")]
    assert not shown.returncode, shown.stdout[-4000:] + shown.stderr[-2000:]
    assert all(f"| {line['check']} | yes |" in shown.stdout for line in lines)
    return {line["check"]: line for line in lines}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_acceptance_run_reports_its_checks(tmp_path: Path) -> None:
    found = rehearsed(tmp_path, "device", "dead")
    assert found["device"]["figures"]["name"] == "Null H200"  # type: ignore[index]
    assert "CUDA error" in found["dead"]["figures"]["error"]  # type: ignore[index]


@pytest.mark.rehearsal
@pytest.mark.timeout(2400)
def test_the_whole_acceptance_run_works(tmp_path: Path) -> None:
    assert len(rehearsed(tmp_path)) == 11
