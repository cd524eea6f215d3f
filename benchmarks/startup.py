"""How soon Torchdeck answers: `--help` as a whole process, and the app's first frame on a terminal of 120x40.

Usage: python benchmarks/startup.py [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from contextlib import suppress

FIRST_SIGN = b"Quickstart"
"""The first preset: with it the first page is there."""


def help_seconds() -> float:
    """Seconds until `torchdeck --help` is done."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tui.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def first_frame_seconds() -> float:
    """Seconds from the start of the process until the first page is on the terminal."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TERM": "xterm-256color", "TORCHDECK_STATE": folder, "TORCHDECK_LOGS": folder}
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "tui.cli"],
            stdin=its,
            stdout=its,
            stderr=its,
            env=environment,
            start_new_session=True,
        )
        os.close(its)
        seen = b""
        while FIRST_SIGN not in seen:
            seen += os.read(mine, 65536)
        seconds = time.perf_counter() - start
        child.send_signal(signal.SIGTERM)
        with suppress(OSError):
            while os.read(mine, 65536):
                pass
        child.wait()
        os.close(mine)
    return seconds


def median_of(measure: Callable[[], float], rounds: int) -> dict[str, float]:
    """The median and the extremes of several, after one to warm up."""
    measure()
    times = [measure() for _ in range(rounds)]
    return {"median": statistics.median(times), "min": min(times), "max": max(times)}


def main() -> None:
    """Print one table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {name: median_of(measure, asked.rounds) for name, measure in _MEASURES.items()}
    if asked.json:
        print(json.dumps({"benchmark": "startup", "clock": "perf_counter", "rounds": asked.rounds, **found}, indent=2))
        return
    for name, times in found.items():
        print(f"{name:<12} {times['median']:.3f} s  ({times['min']:.3f} to {times['max']:.3f}, {asked.rounds} rounds)")


_MEASURES = {"--help": help_seconds, "first frame": first_frame_seconds}

if __name__ == "__main__":
    main()
