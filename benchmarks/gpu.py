"""The acceptance run for a machine with a CUDA device: one command that says what works there, and how fast.

Each check runs in a process of its own with a time limit, the most valuable first, and prints one JSON line; a table of
all of them comes last. All take at most 8 minutes on one H200. Beside torch they need torchvision, numpy, pydantic,
platformdirs, tomli-w, nvidia-ml-py, psutil and safetensors, and CIFAR-10 in the data folder (six files of 31 MB in
cifar-10-batches-py). `--rehearse` runs every check in small on null CUDA (tests/null_cuda), without judging any number.

Usage: python benchmarks/gpu.py [--data data] [--minutes 8] [--only CHECK ...] [--keep FOLDER] [--rehearse]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {
    "device": 30,
    "resume": 60,
    "exact": 60,
    "waits": 30,
    "parity": 60,
    "speedrun": 90,
    "dead": 30,
    "host": 60,
    "graphs": 90,
    "throughput": 90,
    "resnet18": 480,
}
"""The checks of gpu_checks.py in their order, and the seconds that each may take."""


def run_check(name: str, arguments: list[str], seconds: float) -> dict[str, Any]:
    """The result of a check, run in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_checks.py"), name, *arguments, "--seconds", str(seconds)]
    started = time.monotonic()
    result: dict[str, Any] = {"check": name, "passed": False, "figures": {}}
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        lines = shown.stdout.splitlines()
        if shown.returncode in (0, 1) and lines and lines[-1].startswith("{"):
            result |= json.loads(lines[-1])
        else:
            result["error"] = f"exit status {shown.returncode}: {shown.stderr[-2000:]}"
    except subprocess.TimeoutExpired:
        result["error"] = f"not finished after {seconds:.0f} s"
    return result | {"seconds": round(time.monotonic() - started, 1)}


def table(results: list[dict[str, Any]]) -> str:
    """The results as a table in Markdown."""
    lines = ["| check | passed | seconds | figures |", "|---|---|---|---|"]
    for result in results:
        figures = ", ".join(f"{name} {value}" for name, value in result["figures"].items())
        shown = figures + (f" {result['error'].splitlines()[-1]}" if result.get("error") else "")
        lines.append(f"| {result['check']} | {'yes' if result['passed'] else 'NO'} | {result['seconds']} | {shown} |")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, default=ROOT / "data", help="folder of the data sets")
    made.add_argument("--minutes", type=float, default=8.0, help="for all checks together (default 8)")
    made.add_argument(
        "--only", nargs="+", choices=LIMITS, default=list(LIMITS), metavar="CHECK", help=", ".join(LIMITS)
    )
    made.add_argument("--keep", type=Path, help="keep the logs of the runs in this folder")
    made.add_argument("--rehearse", action="store_true", help="in small, on null CUDA")
    return made.parse_args()


def main() -> None:
    """Run the checks; the exit status is 1 where one failed."""
    asked = parse_arguments()
    if asked.rehearse:
        from on_null_cuda import restart_on_null_cuda

        restart_on_null_cuda()
    end = time.monotonic() + 60 * asked.minutes
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for check in asked.only:
            left = end - time.monotonic()
            if left < 10:
                break
            folder = (asked.keep or Path(name)).resolve() / check
            folder.mkdir(parents=True, exist_ok=True)
            arguments = ["--folder", str(folder), "--data", str(asked.data.resolve())]
            arguments += ["--rehearse"] if asked.rehearse else []
            # A rehearsal shares its machine with other tests.
            results.append(run_check(check, arguments, min(left, LIMITS[check] * (3 if asked.rehearse else 1))))
            print(json.dumps(results[-1]), flush=True)
    print(f"\n{table(results)}")
    sys.exit(0 if all(result["passed"] for result in results) and len(results) == len(asked.only) else 1)


if __name__ == "__main__":
    main()
