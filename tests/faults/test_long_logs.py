"""A log of any length opens without holding up the screen, and without being kept in memory."""

import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from app_driver import screen_text, until
from example_runs import make_example_runs
from fault_counts import Faults

from torchdeck.core.events import StepCompleted
from torchdeck.core.runs.reader import load_in_parts, load_record, write_caches
from torchdeck.core.runs.record import MAX_STEPS, READING, RunRecord
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.state.log_loader import LogLoader

RUN = "20270115-080000-quickstart-aaaa"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    make_example_runs(tmp_path / "logs", 1_800_000_000.0)
    return tmp_path / "logs"


def read_beside(loader: LogLoader, folder: Path) -> RunRecord:
    """What a screen has that asks until the log is read."""
    end = time.monotonic() + 30
    while (record := loader.record(folder)).status == READING:
        assert time.monotonic() < end
        assert record.stage.startswith("reading its log: ")
        assert not record.epochs
    return record


def test_a_long_log_is_read_beside_the_screen_and_then_cached(
    logs: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, loader, seen = logs / RUN, LogLoader(sync_bytes=0), threading.Event()

    def write(*parts: Any, **how: Any) -> None:
        assert seen.wait(30)
        write_caches(*parts, **how)

    monkeypatch.setattr("torchdeck.tui.state.log_loader.write_caches", write)
    wanted = load_record(folder)
    (folder / "curves.json").unlink()
    faults("lost caches")
    assert loader.record(folder).status == READING
    seen.set()
    assert read_beside(loader, folder) == wanted
    assert next(load_in_parts(folder))[0] == (folder / "events.jsonl").stat().st_size
    assert loader.record(folder) == wanted


def test_a_short_log_is_there_at_once(logs: Path) -> None:
    (logs / RUN / "curves.json").unlink()
    assert LogLoader().record(logs / RUN) == load_record(logs / RUN)


def test_reading_tells_how_far_it_is(logs: Path) -> None:
    (logs / RUN / "curves.json").unlink()
    (done, total), *_ = list(load_in_parts(logs / RUN))
    assert (done, total) == (0, (logs / RUN / "events.jsonl").stat().st_size)


def test_a_log_that_is_not_there_is_an_empty_record(tmp_path: Path) -> None:
    assert LogLoader().record(tmp_path / "gone") == load_record(tmp_path / "gone")


async def test_the_page_of_runs_shows_a_long_log_once_it_is_read(
    make_app: Callable[..., Torchdeck], logs: Path, faults: Faults
) -> None:
    for path in logs.rglob("curves.json"):
        path.unlink()
        faults("lost caches")
    app = make_app(logs, page="runs")
    app.workspace.log_loader.sync_bytes = 0
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "· best 64.71 %" in screen_text(app))
        assert "reading its log" not in screen_text(app)


async def test_the_page_of_runs_tells_how_far_a_log_is_read_though_it_seldom_looks_for_other_runs(
    make_app: Callable[..., Torchdeck], logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    further, through = threading.Event(), threading.Event()

    def slowly(folder: Path) -> Generator[tuple[int, int], None, RunRecord]:
        yield 0, 100
        assert further.wait(30)
        yield 40, 100
        assert through.wait(30)
        return load_record(folder)

    monkeypatch.setattr("torchdeck.tui.state.log_loader.load_in_parts", slowly)
    monkeypatch.setattr("torchdeck.tui.runs.page.IDLE_FACTOR", 1e9)
    app = make_app(logs, page="runs")
    app.workspace.log_loader.sync_bytes = 0
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "reading its log: 0%" in screen_text(app))
        further.set()
        await until(pilot, lambda: "reading its log: 40%" in screen_text(app))
        through.set()
        await until(pilot, lambda: "· best 64.71 %" in screen_text(app))


def test_the_steps_of_the_longest_epoch_fit_in_memory() -> None:
    record = RunRecord()
    for step in range(1, 5 * MAX_STEPS):
        record.apply(StepCompleted(
            seq=step, phase="train", epoch=1, step=step, batch=step, batches=10**6, loss=1.0, mean_loss=1.0,
            accuracy=0.5, lr=0.1, images_per_second=1.0,
        ))  # fmt: skip
    assert MAX_STEPS / 2 <= len(record.steps) <= MAX_STEPS
    assert record.steps[-1].step == 5 * MAX_STEPS - 1
    numbers = [event.step for event in record.steps]
    assert numbers == sorted(numbers)
