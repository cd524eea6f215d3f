"""How soon past runs are there: 1,000 runs listed, and the log of a run that said 100,000 steps opened.

The runs are directories as the program writes them, of thirty epochs each. Cold means that the files were dropped from
the page cache (where the system allows it) and that nothing was read before in this process; warm means that the
list is asked for again, as the Runs page does. The long log is opened from its events alone, and from its cache.

Usage: python benchmarks/logs.py [--runs 1000] [--steps 100000] [--rounds 7] [--short] [--json]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blocks import Figure, figure, parser, report

from torchdeck import presets
from torchdeck.core.config import config_hash, to_plain
from torchdeck.core.events import EpochCompleted, RunCompleted, RunEvent, RunStarted, StepCompleted, stamp
from torchdeck.core.runs.index import RunIndex
from torchdeck.core.runs.line_format import encode_line
from torchdeck.core.runs.reader import load_record, write_caches
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.writer import claim

EPOCHS = 30


def write_run(logs: Path, run_id: str, events: Iterator[RunEvent], t: float, **about: Any) -> Path:
    """A run directory with these events and its caches; `about` are more keys of its run.json."""
    config = presets.load("lenet").config
    header = {"created": t, "preset": "lenet", "name": "", "tags": [], "config": to_plain(config)}
    writer = claim(logs, run_id, header | {"config_sha256": config_hash(config), "parameters": 62_006} | about)
    record, lines = RunRecord(), list[bytes]()
    for number, event in enumerate(events):
        stamped = stamp(event, seq=number, t=t + number / 10, attempt=1)
        record.apply(stamped)
        lines.append(encode_line(stamped))
    (writer.folder / "events.jsonl").write_bytes(b"".join(lines))  # the writer would sync each epoch to the disk
    write_caches(writer.folder, record, curves=True)
    writer.close()
    return writer.folder


def events_of(run_id: str, steps_told: int, steps: int) -> Iterator[RunEvent]:
    """A run of thirty epochs of `steps` steps each, `steps_told` of them told one by one."""
    config = to_plain(presets.load("lenet").config)
    yield RunStarted(
        run_id=run_id, resumed_from=None, preset="lenet", name="", reported=(), config=config, device="cpu",
        device_name="CPU", parameters=62_006, forward_flops=1_300_000, epochs=EPOCHS, steps_per_epoch=steps,
        train_images=50_000, test_images=10_000, class_names=tuple("0123456789"), chosen_on="test",
        reproducible="exact",
    )  # fmt: skip
    for epoch in range(1, EPOCHS + 1):
        for batch in range(1, steps_told // EPOCHS + 1):
            yield StepCompleted(
                phase="train", epoch=epoch, step=(epoch - 1) * steps + batch, batch=batch, batches=steps,
                loss=1.2345678, mean_loss=1.3456789, accuracy=0.5678, lr=0.001, images_per_second=12_345.6,
            )  # fmt: skip
        metrics = {f"{split}/{name}": epoch / 40 for split in ("train", "test") for name in ("loss", "accuracy")}
        yield EpochCompleted(
            epoch=epoch, step=epoch * steps, metrics=metrics, lr=0.001, images_per_second=12_345.6,
            train_seconds=5.0, seconds=6.0, best=True, step_losses=b"\0\0\x80?" * steps,
        )  # fmt: skip
    yield RunCompleted(status="completed", reason="", epoch=EPOCHS, step=EPOCHS * steps, train_seconds=150.0)


def dropped(folder: Path) -> None:
    """Take the files below a folder out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def rounds_of(rounds: int, work: Callable[[], object], before: Callable[[], object] = lambda: None) -> list[float]:
    """Seconds of some work, each time after `before`."""
    found: list[float] = []
    for _ in range(rounds):
        before()
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def listing(logs: Path, runs: int, rounds: int) -> list[Figure]:
    """The list in this process, cold and warm, and as a command."""
    for number in range(runs):
        run_id = f"20270115-{number:06d}-lenet-aaaa"
        write_run(logs, run_id, events_of(run_id, 0, 10), 1.8e9 + number)
    index = RunIndex(logs)
    assert len(index.rows()) == runs
    command = [sys.executable, "-m", "torchdeck.tui.cli", "runs", "--json", "--logs", str(logs)]
    cold = rounds_of(rounds, lambda: RunIndex(logs).rows(), lambda: dropped(logs))
    first = rounds_of(rounds, lambda: RunIndex(logs).rows())
    warm = rounds_of(rounds, index.rows)
    whole = rounds_of(rounds, lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
    return [
        figure(f"{runs:,} runs listed, cold", cold, "wall", unit="s"),
        figure(f"{runs:,} runs listed, a new index", first, "wall", unit="s", bar="< 0.2 s"),
        figure(f"{runs:,} runs listed, again", warm, "wall", unit="s", bar="< 0.2 s"),
        figure(f"{runs:,} runs: torchdeck runs --json, the whole process", whole, "wall", unit="s"),
    ]


def opening(logs: Path, steps: int, rounds: int) -> list[Figure]:
    """One long log, from its cache and without it."""
    folder = write_run(logs, "20270116-000000-lenet-bbbb", events_of("long", steps, max(1, steps // EPOCHS)), 1.8e9)
    cached = rounds_of(rounds, lambda: load_record(folder))
    (folder / "curves.json").unlink()
    alone = rounds_of(rounds, lambda: load_record(folder))
    return [
        figure(f"a log of {steps:,} steps opened, from its cache", cached, "wall", unit="s", bar="< 0.2 s"),
        figure(f"a log of {steps:,} steps opened, from its events alone", alone, "wall", unit="s"),
    ]


def main() -> None:
    """Print the times as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--runs", type=int, default=1000)
    made.add_argument("--steps", type=int, default=100_000)
    made.add_argument("--rounds", type=int, help="(default 7; short: 3)")
    asked = made.parse_args()
    rounds = asked.rounds or (3 if asked.short else 7)
    with tempfile.TemporaryDirectory() as many, tempfile.TemporaryDirectory() as one:
        found = listing(Path(many), asked.runs, rounds) + opening(Path(one), asked.steps, rounds)
    report("logs", found, asked.json)


if __name__ == "__main__":
    main()
