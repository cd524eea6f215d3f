"""Restarts a script on null CUDA (tests/null_cuda): PyTorch's own CUDA code, on libraries whose kernels do nothing."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "null_cuda"


def restart_on_null_cuda(**more: str) -> None:
    """Run this command again on null CUDA, with more environment variables; returns in the process that is on it."""
    if "NULL_CUDA" in os.environ:
        return
    sys.path.append(str(FOLDER))
    import build  # beside the tests of null CUDA

    if reason := build.why_not():
        print(reason, file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory() as name:
        build.build(Path(name))
        command = [sys.executable, *sys.argv]
        sys.exit(os.spawnve(os.P_WAIT, sys.executable, command, os.environ | build.environment(Path(name)) | more))
