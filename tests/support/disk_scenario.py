"""One run as its writers see it, with a tiny network and no training: all that a disk can refuse or cut short."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fault_disk import FaultDisk
from small_runs import SMALL, changed

from torchdeck.core.config import parse_config
from torchdeck.core.control import Control
from torchdeck.core.data import open_dataset
from torchdeck.core.data.prepare import prepare
from torchdeck.core.errors import CheckpointError, DiskError, LogsError
from torchdeck.core.events import (
    CheckpointSaved,
    EpochCompleted,
    Failure,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    StageStarted,
    StepCompleted,
)
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.commands import FolderControl, send_command
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.runs.writer import SYNCED, claim, reopen
from torchdeck.core.session.recorder import Recorder
from torchdeck.core.session.saver import Saver
from torchdeck.core.training.inference import Predictions
from torchdeck.core.training.plan import make_plan
from torchdeck.core.training.state import TrainingJob, build_job
from torchdeck.core.utils.files import Disk
from torchdeck.core.utils.generators import run_to_end

RUN_ID = "20260101-000000-x-abcd"
STEPS = 2
STARTED = RunStarted(
    run_id=RUN_ID, resumed_from=None, preset="x", name="", reported=(), config={}, device="cpu", device_name="cpu",
    parameters=1, forward_flops=1, epochs=4, steps_per_epoch=STEPS, train_images=4, test_images=4,
    class_names=("a", "b"), chosen_on="test", reproducible="exact",
)  # fmt: skip


def tiny_job(folder: Path) -> TrainingJob:
    """A job whose checkpoints are a few kilobytes."""
    config = parse_config(changed(SMALL, {"training.device": "cpu", "training.precision": "fp32"}))
    plan = make_plan(config, folder)
    job = build_job(plan, run_to_end(prepare(open_dataset(plan.config.data, folder), 1, False)))
    job.model = torch.nn.Conv2d(1, 2, 1)
    # A checkpoint within an epoch is of steps that were counted.
    job.tally.add(torch.tensor(0.5), torch.zeros(32, 4), torch.zeros(32, dtype=torch.int64))
    return job


@dataclass(slots=True)
class Told:
    """What came of a scenario until its end, or until the process died: what the log must have, and what it said."""

    events: list[RunEvent] = field(default_factory=list[RunEvent])
    acknowledged: list[RunEvent] = field(default_factory=list[RunEvent])
    durable: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """How many operations were done when so many events, from the first on, were to survive a power cut."""

    def durable_after(self, operations: int) -> list[RunEvent]:
        """What must survive a power cut after so many operations."""
        return self.events[: max((count for done, count in self.durable if done <= operations), default=0)]

    @property
    def saved(self) -> list[CheckpointSaved]:
        """The checkpoints that it was told were saved."""
        return [event for event in self.acknowledged if isinstance(event, CheckpointSaved)]


def play(job: TrainingJob, logs: Path, disk: FaultDisk, told: Told) -> None:
    """Claim a run, train four epochs that are not trained, save as they ask, and end."""
    times = iter(range(1, 10_000))
    recorder = Recorder(lambda: next(times) * 60.0, lambda _: None)
    try:
        for event in recorder.with_disk_events(_events(job, logs, disk, recorder)):
            told.events.append(event)
            writer = recorder.writer
            if writer and not writer.unwritten:
                told.acknowledged = list(told.events)
                if isinstance(event, SYNCED):
                    told.durable.append((disk.done, len(told.events)))
    finally:
        recorder.close()


def _events(job: TrainingJob, logs: Path, disk: Disk, recorder: Recorder) -> Generator[RunEvent]:
    yield recorder(StageStarted(message="reading"))
    writer = claim(logs, RUN_ID, {"preset": "x"}, disk)
    recorder.attach(writer)
    yield recorder(STARTED)
    saver = Saver(job, recorder, writer.folder, disk)
    control = FolderControl(Control(), writer.folder, lambda: 0.0, 0.0, writer=writer)
    position = job.position
    position.step = position.batch = 0
    job.predictions = Predictions(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4))
    for epoch in range(1, 5):
        position.epoch = epoch
        for batch in range(1, STEPS + 1):
            position.step, position.batch = position.step + 1, batch
            yield recorder(_step(epoch, position.step, batch))
            if (epoch, batch) == (3, 1):
                with suppress(LogsError):
                    send_command(writer.folder, "checkpoint", disk=disk)
            if control.take():
                yield from saver.save_now()
        position.epoch, position.batch = epoch + 1, 0
        ended = _epoch(epoch, position.step, epoch <= 2)
        yield recorder(ended)
        yield from saver.save_epoch(ended)
        if epoch == 2:
            # As a run does that was resumed further back and comes by here again.
            yield from saver.save_now(best=True)
    try:
        yield from saver.save_last(completed=True)
        yield recorder(RunCompleted(status="completed", reason="", epoch=4, step=position.step, train_seconds=1.0))
    except DiskError as error:
        yield recorder(RunFailed(error=Failure("disk", "DiskError", error.message, error.hint)))


def _step(epoch: int, step: int, batch: int) -> StepCompleted:
    return StepCompleted(
        phase="train", epoch=epoch, step=step, batch=batch, batches=STEPS, loss=1.0 / step, mean_loss=1.0,
        accuracy=0.5, lr=0.1, images_per_second=1.0,
    )  # fmt: skip


def _epoch(epoch: int, step: int, best: bool) -> EpochCompleted:
    return EpochCompleted(
        epoch=epoch, step=step, metrics={"test/accuracy": epoch / 4}, lr=0.1, images_per_second=1.0, train_seconds=1.0,
        seconds=1.0, best=best, step_losses=b"\0" * 8,
    )  # fmt: skip


def verified(root: Path) -> list[Path]:
    """The checkpoints that a resumed run would take, the best choice first; all others raise CheckpointError."""
    found: list[Path] = []
    for folder in checkpoint.newest_first(root):
        try:
            checkpoint.load(folder)
        except CheckpointError:
            continue
        found.append(folder)
    return found


def harm(folder: Path, must_have: list[RunEvent], most_damaged: int = 1) -> list[str]:
    """What is wrong with a run's directory whose process died, after what it had told; nothing, one hopes."""
    if not (folder / "run.json").exists():
        return ["an acknowledged run has no run.json"] if must_have else []
    wrong = [*_wrong_before(folder, must_have)]
    try:
        writer = reopen(folder)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run cannot go on
        return [*wrong, f"cannot be reopened: {error!r}"]
    record = load_record(folder)
    last = _step(9, 99, 1)
    writer.append(StageStarted(seq=record.next_seq, message="resumed"))
    writer.close()
    seen = list(EventReader(folder).read())
    if not seen or not isinstance(seen[-1], StageStarted):
        wrong.append(f"what was written after {last.step} cannot be read")
    if stray := list(folder.rglob("*.tmp")):
        wrong.append(f"not swept: {stray}")
    return [*wrong, *_wrong_log(folder, must_have, most_damaged)]


def _wrong_before(folder: Path, must_have: list[RunEvent]) -> Iterator[str]:
    """Before anything is mended: whoever reads now finds the checkpoints, too."""
    saved = [event for event in must_have if isinstance(event, CheckpointSaved)]
    names = [path.name.removesuffix(".old") for path in verified(folder / "checkpoints")]
    steps = [int(name.removeprefix("step-")) for name in names]
    if saved and (not steps or steps[0] < saved[-1].step):
        yield f"the checkpoint of step {saved[-1].step} is lost: {names}"
    if len(set(steps)) < min(2, len({event.step for event in saved})):
        yield f"only {names} are left of {len(saved)}"
    best = next((event.step for event in reversed(saved) if event.best), None)
    if best is not None and best not in steps:
        yield f"the best, of step {best}, is lost: {names}"


def _wrong_log(folder: Path, must_have: list[RunEvent], most_damaged: int) -> Iterator[str]:
    reader = EventReader(folder)
    seen = list(reader.read())
    if [event.seq for event in seen] != list(range(len(seen))):
        yield f"the sequence is {[event.seq for event in seen]}"
    known = {repr(event) for event in seen}
    if lost := [event for event in must_have if repr(event) not in known]:
        yield f"{len(lost)} events are lost, first {lost[0]}"
    if reader.damaged > most_damaged:
        yield f"{reader.damaged} damaged lines"


def texts(content: Any) -> str:
    """A list of complaints as one text."""
    return "\n".join(str(item) for item in content)
