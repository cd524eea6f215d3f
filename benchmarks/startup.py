"""How soon Torchdeck answers: `--help` as a whole process, and the app's first frame on a terminal of 120x40.

Usage: python benchmarks/startup.py [--rounds 7] [--short] [--json]
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from blocks import Figure, figure, parser, report

WIDTH, HEIGHT = 120, 40
PACKAGES = ("textual", "rich", "typer", "click", "pydantic", "plotext", "markdown_it", "pygments", "platformdirs")
FIRST_SIGN = b"Quickstart"
"""The first preset: with it the first page is there."""


def compile_packages() -> None:
    """Make the byte code that an installed program has; uv leaves it to the first import, which may not keep it."""
    places = [str(Path(__file__).parent.parent / name) for name in ("core", "presets", "tui")]
    places += [str(Path(sysconfig.get_path("purelib")) / name) for name in PACKAGES]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *places], stdout=subprocess.DEVNULL, check=False)


def help_seconds() -> float:
    """Seconds until `torchdeck --help` is done."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "torchdeck.tui.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def first_frame_seconds() -> float:
    """Seconds from the start of the process until the first page is on the terminal."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TERM": "xterm-256color", "TORCHDECK_STATE": folder, "TORCHDECK_LOGS": folder}
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "torchdeck.tui.cli"],
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


def measure(name: str, work: Callable[[], float], rounds: int, bar: str) -> Figure:
    """Several times, after one to warm up."""
    work()
    return figure(name, [work() for _ in range(rounds)], "wall", unit="s", bar=bar)


def main() -> None:
    """Print the times as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, help="(default 7; short: 5)")
    asked = made.parse_args()
    rounds = asked.rounds or (5 if asked.short else 7)
    compile_packages()
    found = [
        measure("torchdeck --help, the whole process", help_seconds, rounds, "< 0.4 s"),
        measure(f"first frame at {WIDTH}x{HEIGHT}", first_frame_seconds, rounds, "< 0.6 s"),
    ]
    report("startup", found, asked.json)


if __name__ == "__main__":
    main()
