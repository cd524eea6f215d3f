"""What the live page costs training: batches a second with it drawn over those with nothing drawn, as ratios.

One process trains in the app's worker thread, on a terminal of 120x40 that another process reads. In turn the page is
drawn at its default rates for a block, then not at all for two blocks: drawn over not drawn is the cost, not drawn over
not drawn (A/A) is what this machine makes of nothing.

Usage: python benchmarks/tui_overhead.py [--model lenet] [--threads 2] [--rounds 50] [--seconds 2] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

WIDTH, HEIGHT = 120, 40


def measure(asked: argparse.Namespace) -> list[tuple[float, float, float]]:
    """Batches a second of each round: drawn, not drawn, not drawn again. Runs in a child, on a terminal of its own."""
    from core.config import parse_config
    from core.control import CommandName, Control
    from core.events import RunEvent
    from core.runs import RunIndex
    from core.session import Surroundings, run
    from tui.app import Torchdeck
    from tui.feed import Feed
    from tui.refresh import RATES
    from tui.state import State
    from tui.workspace import Workspace

    class Counting(Control):
        """Control is looked at after every batch."""

        batches = 0

        def take(self) -> tuple[CommandName, str] | None:
            self.batches += 1
            return super().take()

    class Toggled(Torchdeck):
        """An app whose drawing can be held."""

        drawing = True
        control = Counting()
        speeds: list[tuple[float, float, float]] = []  # noqa: RUF012

        def on_ready(self) -> None:
            self.run_worker(self.rounds())

        def _pump(self) -> None:
            if self.drawing:
                super()._pump()

        def _tick(self) -> None:
            if self.drawing:
                super()._tick()

        async def rounds(self) -> None:
            self._feed(Feed(self.training, self.control.request, own=True))
            while self.control.batches < 50:
                await asyncio.sleep(0.1)
            await asyncio.sleep(3)
            for _ in range(asked.rounds):
                self.speeds.append((await self.block(True), await self.block(False), await self.block(False)))
            self._stop_and_leave(0)
            self.drawing = True

        async def block(self, drawing: bool) -> float:
            self.drawing = drawing
            batches, start = self.control.batches, time.perf_counter()
            await asyncio.sleep(asked.seconds)
            return (self.control.batches - batches) / (time.perf_counter() - start)

        def training(self) -> Iterator[RunEvent]:
            yield from run(config, folder / "logs", self.control, surroundings=Surroundings(folder))

    content = {
        "data": {"name": "synthetic", "size": 32, "train_images": 50_000, "test_images": 100},
        "model": {"name": asked.model},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "training": {"epochs": 100_000, "batch_size": asked.batch_size, "device": "cpu", "threads": asked.threads},
    }
    config = parse_config(content)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace = Workspace(folder / "logs", folder, State(), time.time, RunIndex(folder / "logs"))
        app = Toggled(workspace, refresh=RATES["normal"])
        app.run()
        return app.speeds


def on_terminal(arguments: list[str], result: Path) -> None:
    """Run this script as a child on a terminal of its own, which a thread reads as a person's terminal would."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    command = [sys.executable, __file__, *arguments, "--child", str(result)]
    child = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    os.close(its)

    def drain() -> None:
        try:
            while os.read(mine, 65536):
                pass
        except OSError:
            return

    threading.Thread(target=drain, daemon=True).start()
    child.wait()


def summary(asked: argparse.Namespace, rounds: list[tuple[float, float, float]]) -> dict[str, object]:
    """The medians of the ratios, and how far they spread."""
    drawn = [a / statistics.mean((b, c)) for a, b, c in rounds]
    same = [c / b for _, b, c in rounds]

    def spread(ratios: list[float]) -> dict[str, float]:
        low, _, high = statistics.quantiles(ratios, n=4)
        return {"median": statistics.median(ratios), "lower_quartile": low, "upper_quartile": high}

    return {
        "benchmark": "tui_overhead",
        "model": asked.model,
        "threads": asked.threads,
        "size": f"{WIDTH}x{HEIGHT}",
        "pairs": len(rounds),
        "seconds_per_block": asked.seconds,
        "clock": "perf_counter",
        "drawn_over_not": spread(drawn),
        "not_over_not": spread(same),
    }


def main() -> None:
    """Print one table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        asked.child.write_text(json.dumps(measure(asked)))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rounds.json"
        on_terminal(sys.argv[1:], result)
        if not result.exists():
            sys.exit("the child failed")
        told = summary(asked, json.loads(result.read_text()))
    if asked.json:
        print(json.dumps(told, indent=2))
        return
    print(f"{asked.model}, {asked.threads} threads, {WIDTH}x{HEIGHT}, {told['pairs']} rounds of {asked.seconds:g} s")
    for name, text in (("drawn_over_not", "drawn / not drawn"), ("not_over_not", "not drawn / not drawn (A/A)")):
        found = told[name]
        assert isinstance(found, dict)
        quartiles = f"quartiles {found['lower_quartile']:.3f} to {found['upper_quartile']:.3f}"
        print(f"  {text:<28} {found['median']:.3f}  {quartiles}")


if __name__ == "__main__":
    main()
