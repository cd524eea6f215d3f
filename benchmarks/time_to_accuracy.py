"""How soon an accuracy is reached on this CPU: Torchdeck's commands over the reports' script, as whole processes.

- to 60 %: a tuned recipe until an epoch tests at 60 % or more, over the report's baseline (report_script.py: batch 4,
  five epochs, which end near 60 %);
- `torchdeck run lenet training.epochs=10`, over the report's script at batch 100 for ten epochs;
- `speedrun-cpu`: its best test accuracy within the seconds that the report's script at batch 100 took in that round.

Each round runs every command once, from the start of its process to its end; A/A is the report's script in one round
over the round before. The data must be there (TORCHDECK_DATA, in torchvision's layout). The short form runs one epoch
of `lenet` against one of the script, twice, and nothing else.

Usage: python benchmarks/time_to_accuracy.py [--pairs 5] [--target 0.6] [--short] [--json]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from blocks import Figure, figure, parser, ratio, report

from torchdeck import presets

SCRIPT = Path(__file__).parent / "report_script.py"
RECIPE = (
    *("lenet", "training.epochs=8", "training.batch_size=100", "optimizer.lr=0.02", "optimizer.nesterov=true"),
    *("schedule.name=one-cycle", "data.flip=true"),
)
"""LeNet with a larger learning rate that rises and falls, and mirrored images."""


def script_seconds(data: str, epochs: int, batch_size: int) -> float:
    """Seconds of the report's script as a process."""
    command = [sys.executable, str(SCRIPT), data, f"--epochs={epochs}", f"--batch-size={batch_size}"]
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def run_seconds(data: str, *settings: str) -> float:
    """Seconds of `torchdeck run` as a process, its lines read by nobody."""
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, "-m", "torchdeck.tui.cli", "run", *settings, "--data", data, "--logs", logs]
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start


def accuracies(data: str, *settings: str) -> Iterator[tuple[float, float]]:
    """Seconds since the start of `torchdeck run` and test accuracy, after each epoch; closed, the run stops."""
    with tempfile.TemporaryDirectory() as logs:
        command = [
            sys.executable,
            "-m",
            "torchdeck.tui.cli",
            "run",
            *settings,
            "--json",
            "--data",
            data,
            "--logs",
            logs,
        ]
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert child.stdout
        try:
            for line in child.stdout:
                event = json.loads(line)
                if event["kind"] == "EpochCompleted":
                    yield time.perf_counter() - start, float(event["metrics"]["test/accuracy"])
        finally:
            child.send_signal(signal.SIGINT)
            child.communicate()


def seconds_to(target: float, data: str, *settings: str) -> float | None:
    """Seconds until an epoch of a run tests at the target; None where none does."""
    return next((passed for passed, accuracy in accuracies(data, *settings) if accuracy >= target), None)


def best_within(limit: float, data: str, *settings: str) -> float:
    """The best test accuracy of a run after `limit` seconds."""
    best = 0.0
    for passed, accuracy in accuracies(data, *settings):
        if passed > limit:
            break
        best = max(best, accuracy)
    return best


def whole(name: str, ours: list[float], theirs: list[float], bar: str, threads: int) -> Figure:
    """Seconds of ours over seconds of the script's."""
    same = (theirs[:-1], theirs[1:]) if len(theirs) > 1 else (theirs, theirs)
    return ratio(name, ours, theirs, same, "wall", bar=bar, threads=threads)


def measure(data: str, pairs: int, target: float) -> list[Figure]:
    """All three, round by round."""
    script4, script100, tuned, plain, best = (list[float]() for _ in range(5))
    for _ in range(pairs):
        script4.append(script_seconds(data, 5, 4))
        reached = seconds_to(target, data, *RECIPE)
        if reached is None:
            sys.exit(f"the recipe never tested at {target:.0%}: {' '.join(RECIPE)}")
        tuned.append(reached)
        script100.append(script_seconds(data, 10, 100))
        plain.append(run_seconds(data, "lenet", "training.epochs=10"))
        if "speedrun-cpu" in presets.names():
            best.append(best_within(script100[-1], data, "speedrun-cpu"))
    threads = os.cpu_count() or 1
    found = [
        whole(f"to {target:.0%}: tuned LeNet over the report's baseline, seconds", tuned, script4, "<= 0.20", threads),
        whole("lenet, 10 epochs: torchdeck run over the script, seconds", plain, script100, "<= 0.35", threads),
        figure("the report's script, batch 4, 5 epochs", script4, "wall", unit="s"),
        figure("the report's script, batch 100, 10 epochs", script100, "wall", unit="s"),
    ]
    if best:
        found.append(figure("speedrun-cpu within those seconds", best, "wall", unit="%", bar=">= 85 %"))
    return found


def main() -> None:
    """Print the figures as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--pairs", type=int, help="(default 5; short: 2)")
    made.add_argument("--target", type=float, default=0.6)
    made.add_argument("--data", default=os.environ.get("TORCHDECK_DATA", "data"))
    asked = made.parse_args()
    if not (Path(asked.data) / "cifar-10-batches-py").is_dir():
        print(f"CIFAR-10 is missing in {asked.data}; run: torchdeck data fetch cifar10", file=sys.stderr)
        sys.exit(2)
    pairs = asked.pairs or (2 if asked.short else 5)
    if not asked.short:
        report("time_to_accuracy", measure(asked.data, pairs, asked.target), asked.json)
        return
    times = [
        (run_seconds(asked.data, "lenet", "training.epochs=1"), script_seconds(asked.data, 1, 100))
        for _ in range(pairs)
    ]
    ours, theirs = ([pair[place] for pair in times] for place in (0, 1))
    name = "lenet, 1 epoch: torchdeck run over the script, seconds"
    report("time_to_accuracy", [whole(name, ours, theirs, "", os.cpu_count() or 1)], asked.json)


if __name__ == "__main__":
    main()
