"""A study of 1,000 runs on 100 slots, with runs that train nothing: what its process costs, and looking at it.

Each run writes the log of thirty epochs, and predictions of 10,000 images, at once; so what is left is the study's own
work: to claim a run, to put down what becomes of it, to read its log. The first and the last third of the runs tell
what the growing queue costs. Then the logs folder is listed, and the study read and drawn as its page does it: for the
first time, again with nothing new, and again after one run changed. Bytes are those of the files, without checkpoints,
which depend on the model.

Usage: python benchmarks/scaling.py [--runs 1000] [--slots 100] [--rounds 7] [--short] [--json]
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from blocks import Figure, figure, parser, report
from noop import NoOp

from logs import rounds_of
from torchdeck import presets
from torchdeck.core.devices.slots import Slot
from torchdeck.core.results.predictions import PREDICTIONS
from torchdeck.core.runs.index import RunIndex
from torchdeck.core.studies.events import RunEnded, StudyEnded
from torchdeck.core.studies.executor import StudyOptions
from torchdeck.core.studies.ledger import Ledger
from torchdeck.core.studies.model import Study
from torchdeck.core.studies.run_study import run_study
from torchdeck.core.studies.store import create_study
from torchdeck.presets.study_presets import grid_study
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.state.preferences import Preferences
from torchdeck.tui.state.refresh_rates import RefreshRates
from torchdeck.tui.state.study_reader import StudyReader
from torchdeck.tui.state.workspace import Workspace
from torchdeck.tui.studies.page import StudyPage

SIZE = (120, 40)


class Timed(NoOp):
    """Adds up what the runs themselves take."""

    seconds = 0.0

    def __init__(self, request: Mapping[str, Any], console: Path, lock: int, slot: Slot) -> None:
        start = time.perf_counter()
        super().__init__(request, console, lock, slot)
        folder = Path(request["logs"]) / request["run_id"]
        (folder / PREDICTIONS).write_bytes(predictions(request["study"]["number"]))
        Timed.seconds += time.perf_counter() - start


def predictions(number: int) -> bytes:
    """Those of 10,000 images; which ones are wrong depends on the number."""
    labels = np.arange(10_000, dtype=np.int16) % 10
    first = np.where((np.arange(10_000) * 7 + number) % 5 == 0, (labels + 1) % 10, labels)
    classes = np.stack([first, (first + 2) % 10, (first + 3) % 10], axis=1).astype(np.int16)
    tensors = {"labels": labels, "classes": classes, "probabilities": np.full(classes.shape, 0.3, np.float16)}
    return safetensors.numpy.save(tensors, {"epoch": "30"})


def grid(runs: int) -> Study:
    """A grid of ten seeds of each learning rate."""
    rates = ",".join(f"{0.001 * 1.05**place:.6f}" for place in range(max(1, runs // 10)))
    return grid_study(presets.load("lenet"), [f"optimizer.lr={rates}", "training.seed=0,1,2,3,4,5,6,7,8,9"])


def worked_on(study: Path, slots: int) -> list[float]:
    """Do all runs of a study; when each ended, in seconds without those that the runs took."""
    options = StudyOptions(study, tuple(Slot(f"cpu {number}", "cpu") for number in range(slots)), poll=0.0, start=Timed)
    begun, Timed.seconds, ends = time.perf_counter(), 0.0, list[float]()
    for event in run_study(study, options=options):
        if isinstance(event, RunEnded):
            ends.append(time.perf_counter() - begun - Timed.seconds)
        assert not isinstance(event, StudyEnded) or event.outcome == "completed"
    return ends


def queueing(study: Path, slots: int) -> list[Figure]:
    """What the study's process does for each run."""
    ends = worked_on(study, slots)
    # Runs end as many at a time as there are slots: whole rounds, from the end of one to that of another.
    some = max(1, len(ends) // slots // 3) * slots
    first, last = ends[slots + some - 1] - ends[slots - 1], ends[-1] - ends[-1 - some]
    again = rounds_of(3, lambda: worked_on(study, slots))
    return [
        figure("seconds of the study's process until the first run ended", ends[:1], "wall", unit="s"),
        figure("runs a minute, the first third", [60 * some / first], "wall", unit="runs"),
        figure("runs a minute, the last third", [60 * some / last], "wall", unit="runs"),
        figure(f"{len(ends):,} runs done, without the time that they took", ends[-1:], "wall", unit="s"),
        figure("the finished study opened and left", again, "wall", unit="s"),
    ]


def volume(study: Path) -> list[Figure]:
    """Bytes for each run."""
    runs = [path.parent for path in study.parent.glob("*/run.json")]
    each = [float(sum(map(size, run.iterdir()))) for run in runs]
    shared = {name: size(study / name) / len(runs) for name in ("study.json", "changes.jsonl", "optuna-journal.log")}
    return [
        figure("bytes of a run's directory", each, "", unit="B"),
        *(figure(f"bytes of {name} for each run", [share], "", unit="B") for name, share in shared.items()),
    ]


def size(path: Path) -> int:
    """The bytes of a file; 0 for a folder."""
    return path.stat().st_size if path.is_file() else 0


def listing(logs: Path, rounds: int) -> list[Figure]:
    """The runs of the logs folder."""
    index = RunIndex(logs)
    runs = len(index.rows())
    first, warm = rounds_of(rounds, lambda: RunIndex(logs).rows()), rounds_of(rounds, index.rows)
    return [
        figure(f"{runs:,} runs listed, a new index", first, "wall", unit="s", bar="< 1 s"),
        figure(f"{runs:,} runs listed, again", warm, "wall", unit="s", bar="< 1 s"),
    ]


def reading(study: Path, rounds: int) -> list[Figure]:
    """The study and what its runs amount to, as its page reads them."""
    first, reader = rounds_of(rounds, lambda: StudyReader(study).read()), StudyReader(study)
    reader.read()
    warm, number = rounds_of(rounds, reader.read), iter(range(10_000))
    changed = rounds_of(rounds, reader.read, lambda: change(study, next(number)))
    return [
        figure("the study read, for the first time", first, "wall", unit="s"),
        figure("the study read again, nothing new", warm, "wall", unit="s", bar="< 1 s"),
        figure("the study read again, one run changed", changed, "wall", unit="s", bar="< 1 s"),
    ]


def change(study: Path, turn: int) -> None:
    """Put down something of one run that its page shows."""
    with closing(Ledger(study)) as ledger, ledger.locked():
        ledger.record(replace(ledger.study.runs[0], place=f"cpu {turn}"))


async def drawing(study: Path, rounds: int) -> list[Figure]:
    """The page from the keys to the screen, and again with what one run changed."""
    workspace = Workspace(study.parent, study, Preferences(), time.time, RunIndex(study.parent))
    app = Torchdeck(workspace, refresh=RefreshRates(0.05, 0.05), page="runs")
    fresh, again = list[float](), list[float]()
    async with app.run_test(size=SIZE) as pilot:
        for _ in range(rounds):
            page = StudyPage(workspace, study)
            await app.push_screen(page)
            while page._seen is None:
                await pilot.pause(0.01)
            seen, working = page._seen, page._working
            for shown, times in ((None, fresh), (seen, again)):
                page._seen = shown
                start = time.perf_counter()
                page._show(seen, working)
                await pilot.pause()
                times.append(time.perf_counter() - start)
            app.pop_screen()
    return [
        figure("its page drawn, with news", fresh, "wall", unit="s", bar="< 1 s"),
        figure("its page drawn, without", again, "wall", unit="s", bar="< 1 s"),
    ]


def main() -> None:
    """Print the figures as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--runs", type=int, help="(default 1000; short: 200)")
    made.add_argument("--slots", type=int, default=100)
    made.add_argument("--rounds", type=int, help="(default 7; short: 3)")
    asked = made.parse_args()
    runs, rounds = asked.runs or (200 if asked.short else 1000), asked.rounds or (3 if asked.short else 7)
    with tempfile.TemporaryDirectory() as logs:
        study = create_study(Path(logs), grid(runs), time.time())
        found = queueing(study, asked.slots) + volume(study) + listing(study.parent, rounds)
        found += reading(study, rounds) + asyncio.run(drawing(study, rounds))
    report("scaling", found, asked.json, runs=runs, slots=asked.slots)


if __name__ == "__main__":
    main()
