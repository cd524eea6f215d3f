"""What the live page costs training: batches a second with it drawn over those with nothing drawn, as ratios.

The app stands on a terminal of 120x40 that another process reads. In turn the page is not drawn at all for a block, and
drawn at its default rates for one. The cost is a drawn block over the two beside it; what this machine makes of nothing
(A/A) is one that was not drawn over the next such. A block lasts as long as charts wait at most (short form: less)
and begins half a second after the change, for the page first catches up on what it had not drawn. In the form `thread`
the app trains in its own worker thread; in the form `detached` another process trains with one compute thread, and the
app follows its run directory, as it does whether drawn or not.

Usage: python benchmarks/tui_overhead.py [--forms thread detached] [--model M] [--threads N] [--rounds 51] [--seconds 5]
           [--short] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import mmap
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
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from blocks import Figure, parser, ratio, report

from torchdeck.core.utils.gc_tuning import collect_rarely
from torchdeck.tui.state.refresh_rates import MAX_DELAY_FACTOR, RATES

if TYPE_CHECKING:
    from torchdeck.tui.state.feed import Feed

Form = Literal["thread", "detached"]
Speeds = list[tuple[float, float]]
SETTLE = 0.5
"""Seconds between the change and the block."""
MODELS: dict[Form, str] = {"thread": "basic-cnn", "detached": "lenet"}
BARS = {("thread", "basic-cnn"): ">= 0.97", ("detached", "lenet"): ">= 0.99"}
WIDTH, HEIGHT = 120, 40


class Counter:
    """A number in a file that two processes share."""

    def __init__(self, path: Path) -> None:
        path.touch()
        os.truncate(path, 8)
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def __int__(self) -> int:
        return struct.unpack_from("Q", self._memory)[0]

    def add(self) -> None:
        """One more."""
        struct.pack_into("Q", self._memory, 0, int(self) + 1)


def training(asked: argparse.Namespace, folder: Path) -> tuple[Callable[[], Iterator[Any]], Any]:
    """A run without end that counts its batches, and its control."""
    from torchdeck.core.config import parse_config
    from torchdeck.core.control import CommandName, Control
    from torchdeck.core.session.session import SessionContext, run

    counter = Counter(folder / "batches")

    class Counting(Control):
        """Control is looked at after every batch."""

        def take(self) -> tuple[CommandName, str] | None:
            counter.add()
            return super().take()

    config = parse_config(
        {
            "data": {"name": "synthetic", "size": 32, "train_images": 50_000, "test_images": 100},
            "model": {"name": asked.model},
            "optimizer": {"name": "sgd", "lr": 0.01},
            "training": {"epochs": 100_000, "batch_size": asked.batch_size, "device": "cpu", "threads": asked.threads},
        }
    )
    control = Counting()
    return lambda: run(config, folder / "logs", control, context=SessionContext(folder)), control


def feed_of(asked: argparse.Namespace, folder: Path) -> Feed:
    """The run that another process trains, or one of this process."""
    from torchdeck.tui.state.feed import Feed
    from torchdeck.tui.state.open_feed import follow_feed

    if asked.form == "detached":
        return follow_feed(next((folder / "logs").iterdir()))
    events, control = training(asked, folder)
    return Feed(events, control.request, own=True)


def show(asked: argparse.Namespace, folder: Path) -> Speeds:
    """Batches a second of each round: not drawn, drawn. Runs in a child, on a terminal of its own."""
    from torchdeck.core.runs.index import RunIndex
    from torchdeck.tui.app.app import Torchdeck
    from torchdeck.tui.state.preferences import Preferences
    from torchdeck.tui.state.workspace import Workspace

    counter = Counter(folder / "batches")

    class Toggled(Torchdeck):
        """An app whose drawing can be held."""

        drawing = True
        speeds: Speeds = []  # noqa: RUF012

        def on_ready(self) -> None:
            self.run_worker(self.rounds())

        def _on_frame(self) -> None:
            if self.drawing:
                super()._on_frame()

        async def rounds(self) -> None:
            self._start_feed(feed_of(asked, folder))
            while int(counter) < 50:
                await asyncio.sleep(0.1)
            await asyncio.sleep(3)
            for _ in range(asked.rounds):
                self.speeds.append((await self.block(False), await self.block(True)))
            self.drawing = True
            if self.workspace.training:
                self._quit_answered("stop")
            else:
                self._quit(0)

        async def block(self, drawing: bool) -> float:
            self.drawing = drawing
            await asyncio.sleep(SETTLE)
            batches, start = int(counter), time.perf_counter()
            await asyncio.sleep(asked.seconds)
            return (int(counter) - batches) / (time.perf_counter() - start)

    workspace = Workspace(folder / "logs", folder, Preferences(), time.time, RunIndex(folder / "logs"))
    app = Toggled(workspace, refresh=RATES["normal"])
    app.run()
    return app.speeds


def work(asked: argparse.Namespace) -> None:
    """What a child of this script does, as the command line would."""
    collect_rarely()
    if asked.role == "trainer":
        for _ in training(asked, asked.folder)[0]():
            pass
        return
    (asked.folder / "rounds.json").write_text(json.dumps(show(asked, asked.folder)))


def on_terminal(command: list[str]) -> None:
    """Run a child on a terminal of its own, which a thread reads as a person's terminal would."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
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


def measure(form: Form, model: str, threads: int, asked: argparse.Namespace) -> Speeds:
    """The rounds of one form."""
    given = {"form": form, "model": model, "threads": threads, "rounds": asked.rounds, "seconds": asked.seconds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = [f"--{key}={value}" for key, value in given.items()]
        command = [sys.executable, __file__, *options, f"--batch-size={asked.batch_size}", f"--folder={folder}"]
        trainer = None
        if form == "detached":
            trainer = subprocess.Popen([*command, "--role=trainer"])
            counter = Counter(folder / "batches")
            while int(counter) < 50 and trainer.poll() is None:
                time.sleep(0.1)
        on_terminal([*command, "--role=screen"])
        if trainer:
            trainer.terminate()
            trainer.wait()
        result = folder / "rounds.json"
        if not result.exists():
            sys.exit("the app failed")
        return [(held, drawn) for held, drawn in json.loads(result.read_text())]


def figure_of(form: Form, model: str, threads: int, rounds: Speeds) -> Figure:
    """Drawn over not drawn."""
    held = [held for held, _ in rounds]
    drawn = [drawn for _, drawn in rounds[:-1]]
    beside = [statistics.mean(pair) for pair in pairwise(held)]
    name = f"{form}, {model}: live page drawn over not drawn"
    return ratio(name, drawn, beside, (held[:-1], held[1:]), "wall", threads=threads, bar=BARS.get((form, model), ""))


def main() -> None:
    """Print the ratios as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--forms", nargs="+", default=["thread", "detached"], choices=["thread", "detached"])
    made.add_argument("--model", help="(default basic-cnn in the thread, lenet detached)")
    made.add_argument("--batch-size", type=int, default=100)
    made.add_argument("--threads", type=int, help="compute threads (default all in the thread, 1 detached)")
    made.add_argument("--rounds", type=int, help="(default 51; short: 5)")
    made.add_argument("--seconds", type=float, help="seconds of a block (default 5; short: 2)")
    for hidden in ("--role", "--form"):
        made.add_argument(hidden, help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = made.parse_args()
    if asked.role:
        work(asked)
        return
    asked.rounds = asked.rounds or (5 if asked.short else 51)
    asked.seconds = asked.seconds or (2.0 if asked.short else MAX_DELAY_FACTOR * RATES["normal"].charts)
    found: list[Figure] = []
    for form in asked.forms:
        model = asked.model or MODELS[form]
        threads = asked.threads or (1 if form == "detached" else os.cpu_count() or 1)
        found.append(figure_of(form, model, threads, measure(form, model, threads, asked)))
    report("tui_overhead", found, asked.json, size=f"{WIDTH}x{HEIGHT}", seconds_per_block=asked.seconds)


if __name__ == "__main__":
    main()
