"""What processes do that are to be killed: each tells on stdout of all that it has done."""

from __future__ import annotations

import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

import torch

from torchdeck.core.config import parse_config
from torchdeck.core.events import StepCompleted
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.writer import claim, reopen
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.core.utils.files import Disk, write_all

Json = dict[str, Any]


def tell(line: object) -> None:
    """One line to the test, past every buffer: what was told is done."""
    os.write(1, f"{line}\n".encode())


def die() -> None:
    """Be killed here and now."""
    os.kill(os.getpid(), signal.SIGKILL)


def step(seq: int) -> StepCompleted:
    return StepCompleted(
        seq=seq, phase="train", epoch=1, step=seq, batch=seq, batches=9, loss=0.5, mean_loss=0.5, accuracy=0.1, lr=0.1,
        images_per_second=1.0,
    )  # fmt: skip


class TellingDisk(Disk):
    """Tells of each operation before it is done, so that a kill can fall into any of them."""

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        tell("write")
        return super().write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        tell("sync")
        super().sync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        tell("rename")
        super().rename(source, target)

    def mkdir(self, path: Path) -> None:
        tell("mkdir")
        super().mkdir(path)

    def unlink(self, path: Path) -> None:
        tell("unlink")
        super().unlink(path)

    def rmdir(self, path: Path) -> None:
        tell("rmdir")
        super().rmdir(path)


def log(folder: str) -> None:
    """Append events for ever."""
    place = Path(folder)
    writer = reopen(place) if place.exists() else claim(place.parent, place.name, {"preset": "x"})
    for seq in count(load_record(place).next_seq):
        writer.append(step(seq))
        tell(seq)


def naive_log(folder: str, lines: int) -> None:
    """So many through a buffer, a promise that cannot be kept: the kill comes when they were told."""
    with open(folder, "a") as file:
        for seq in range(lines):
            file.write(f"{seq}\n")
            tell(seq)
        die()


def checkpoints(root: str, first: int) -> None:
    """Save checkpoints for ever."""
    for number in count(first):
        weights = {"model.weight": torch.full((250_000,), float(number))}
        # Every third replaces the one before.
        at = number - number % 3 % 2
        checkpoint.save(Path(root), at, weights, {"number": number}, TellingDisk())
        tell(f"saved {at} {number}")
        checkpoint.delete_old(Path(root), at, disk=TellingDisk())


def naive_checkpoints(root: str) -> None:
    """Two into one file, one over the other: the kill comes within the second."""
    for number in (1, 2):
        content = torch.full((250_000,), float(number)).numpy().tobytes()
        file = os.open(f"{root}.bin", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for part in range(10):
            if (number, part) == (2, 4):
                die()
            write_all(file, content[part * 100_000 : (part + 1) * 100_000])
        os.close(file)
        tell(f"saved {number}")


def train(logs: str, run_id: str, config: Json) -> None:
    """Train a run, or go on with it."""
    around, folder = SessionContext(Path(logs), sample_every=0.0), Path(logs) / run_id
    if (folder / "run.json").exists():
        events = resume(folder, context=around)
    else:
        events = run(parse_config(config), Path(logs), context=around, run_id=run_id)
    for event in events:
        tell(f"{event.seq} {type(event).__name__}")
