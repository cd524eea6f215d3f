"""The weights of the best epoch on a full disk: kept until it takes them, and never passed off as another epoch's."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from app_driver import screen_text, until
from fault_counts import Faults
from rich.console import Console

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import CheckpointSaved, EpochCompleted, RunCompleted, RunEvent
from torchdeck.core.results.model_export import export
from torchdeck.core.results.predictions import read_filters, read_predictions
from torchdeck.core.results.trained_model import load_trained
from torchdeck.core.runs import checkpoint
from torchdeck.core.runs.best_weights import best_weights
from torchdeck.core.runs.index import read_row
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.core.utils.files import Disk
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.format.tables import run_page
from torchdeck.tui.report.write import write_report
from torchdeck.tui.runs.page import RunsPage

Made = Callable[..., ExperimentConfig]
SETTINGS = {"training.epochs": 5, "training.seed": 4}
BEST, BEFORE = 4, 3
"""Of these settings, the best epoch, and the one that was the best before it."""
STEPS = 3
"""Of an epoch."""
MISSED = f"best epoch {BEST} was not saved; these are epoch {BEFORE}'s"
OF_THE_BEST = f".step-{STEPS * BEST:08}.tmp"


class FullDisk(Disk):
    """Refuses files whose path holds one of some texts."""

    def __init__(self) -> None:
        self.refused: tuple[str, ...] = ()

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        if flags & os.O_CREAT and any(text in str(path) for text in self.refused):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().open(path, flags, mode)


def trained(
    config: ExperimentConfig, folder: Path, context: SessionContext, full: dict[int, tuple[str, ...]]
) -> list[RunEvent]:
    """A run on a disk that refuses something from the end of an epoch on, by epoch."""
    disk, events = FullDisk(), list[RunEvent]()
    for event in run(config, folder.parent, context=replace(context, disk=disk), run_id=folder.name):
        events.append(event)
        if isinstance(event, EpochCompleted):
            disk.refused = full.get(event.epoch, ())
    return events


@pytest.fixture
def whole(small: Made, tmp_path: Path, context: SessionContext) -> Path:
    """The same run on a disk that has room."""
    trained(small(SETTINGS), tmp_path / "whole" / "x", context, {})
    best = load_record(tmp_path / "whole" / "x").best
    assert best
    assert best.epoch == BEST
    return tmp_path / "whole" / "x"


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_best_weights_wait_in_memory_for_a_disk_that_is_full(
    small: Made, tmp_path: Path, context: SessionContext, whole: Path, faults: Faults
) -> None:
    folder = tmp_path / "logs" / "x"
    events = trained(small(SETTINGS), folder, context, {BEST: ("",)})
    record = load_record(folder)
    lost = not equal(best_weights(folder).tensors, best_weights(whole).tensors)
    faults("full disks at the best epoch", lost=int(lost))
    assert not lost
    assert best_weights(folder).passed_over == ()
    saved = [(event.epoch, event.best) for event in events if isinstance(event, CheckpointSaved)]
    assert saved[-2:] == [(BEST, True), (5, False)]
    assert record.best
    assert record.best_saved == record.best.step
    assert any("could not be written: the disk is full" in warning for warning in record.warnings)
    filters = read_filters(folder)
    assert filters
    assert filters.epoch == read_predictions(folder, 4).epoch == BEST
    for at in (folder, whole):
        checkpoint.load(checkpoint.folder_of(at / "checkpoints", STEPS * BEST))
    last = [checkpoint.load_model(next(checkpoint.newest_first(at / "checkpoints"))) for at in (folder, whole)]
    assert equal(*last)


def test_a_late_checkpoint_of_the_best_is_one_to_resume_from(
    small: Made, tmp_path: Path, context: SessionContext, whole: Path
) -> None:
    folder = tmp_path / "logs" / "x"
    trained(small(SETTINGS), folder, context, {BEST: (".step-", ".safetensors")})
    # Only the late one is left, with all that it takes to go on.
    for step in checkpoint.steps(folder / "checkpoints"):
        if step != STEPS * BEST:
            checkpoint.remove_tree(checkpoint.folder_of(folder / "checkpoints", step))
    log = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(line for line in log if b'"RunCompleted"' not in line))
    (folder / "curves.json").unlink()
    *_, last = resume(folder, context=context)
    assert isinstance(last, RunCompleted)
    last_weights = [checkpoint.load_model(next(checkpoint.newest_first(at / "checkpoints"))) for at in (folder, whole)]
    assert equal(*last_weights)


async def test_weights_that_are_not_the_bests_are_said_to_be(
    small: Made,
    tmp_path: Path,
    context: SessionContext,
    whole: Path,
    faults: Faults,
    make_app: Callable[..., Torchdeck],
) -> None:
    folder = tmp_path / "logs" / "x"
    refused = (OF_THE_BEST, "predictions", "filters")
    events = trained(small(SETTINGS), folder, context, {BEST: refused, 5: refused})
    faults("full disks at the best epoch")
    record, row = load_record(folder), read_row(folder)
    assert isinstance(events[-1], RunCompleted)
    assert events[-1].status == "completed"
    assert f"the weights of the best epoch, {BEST}, could not be written and are lost" in record.warnings
    # export
    assert export(folder, "safetensors", tmp_path / "model.safetensors").passed_over == (MISSED,)
    before = checkpoint.load_model(checkpoint.folder_of(folder / "checkpoints", STEPS * BEFORE))
    assert equal(before, safetensors.torch.load_file(tmp_path / "model.safetensors"))
    assert not equal(before, best_weights(whole).tensors)
    loaded = load_trained(folder)
    assert (loaded.epoch, loaded.metrics) == (BEFORE, dict(record.epochs[BEFORE - 1].metrics))
    # show
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(run_page(row, record))
    assert MISSED in console.export_text()
    # report
    write_report(row, folder.parent, tmp_path / "run.html", False)
    assert (tmp_path / "run.html").read_text().replace("&#x27;", "'").count(MISSED) >= 2
    # Runs and Analyze
    app = make_app(page="analyze")
    async with app.run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: screen_text(app).count(MISSED) == 2)
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, RunsPage) and MISSED in screen_text(app))
