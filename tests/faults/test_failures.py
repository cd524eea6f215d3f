"""What fails within a run, at any step, ends it properly: told, recorded, resumable, and nothing held on to."""

import gc
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from app_driver import screen_text, until
from fault_counts import Faults
from small_runs import Clock, only_run
from torch import nn

from torchdeck import presets
from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import CheckpointSaved, EpochCompleted, RunCompleted, RunEvent, RunFailed, StepCompleted
from torchdeck.core.runs.label import Label
from torchdeck.core.runs.layout import is_locked
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.session.out_of_memory import images_that_fit, is_out_of_memory
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.core.studies.model import StudyRun
from torchdeck.core.studies.store import current_run
from torchdeck.core.training.plan import make_plan
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.state.messages import StartRequested
from torchdeck.tui.terminal.exit_codes import run_exit_code

Made = Callable[..., ExperimentConfig]
TheRun = Callable[[], Path]
STEPS = 9
"""Of a small run: three epochs of three."""

CPU_EXHAUSTED = (
    "[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)
EXHAUSTIONS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: MemoryError("Unable to allocate 12 GiB for an array"),
    lambda: RuntimeError(CPU_EXHAUSTED),
]
CRASHES: list[Callable[[], Exception]] = [
    lambda: RuntimeError("the driver went away"),
    lambda: KeyError("weight"),
    lambda: OSError(5, "Input/output error"),
]


class Fuse:
    """A clock that raises, once lit, at the next look: within a step, where a driver or an allocator would."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error, self.lit, self.clock = error, False, Clock()

    def __call__(self) -> float:
        if self.lit:
            raise self.error()
        return self.clock()


def failing_at(
    config: ExperimentConfig, logs: Path, context: SessionContext, step: int, error: Callable[[], Exception]
) -> Iterator[RunEvent]:
    """A run in which an error is raised right after a training step."""
    fuse = Fuse(error)
    for event in run(config, logs, context=replace(context, clock=fuse)):
        yield event
        if isinstance(event, StepCompleted) and (event.phase, event.step) == ("train", step):
            fuse.lit = True


@pytest.mark.parametrize("error", EXHAUSTIONS)
@pytest.mark.parametrize("step", [1, 5])
def test_a_run_out_of_memory_tells_the_batch_that_would_fit(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, step: int, error: Callable[[], Exception]
) -> None:
    told = list(failing_at(small(), tmp_path / "logs", context, step, error))
    faults("memory exhaustions")
    assert isinstance(told[-1], RunFailed)
    failure = told[-1].error
    assert failure.kind == "memory"
    assert "out of memory training on 32 images at once; 16 would fit" in failure.message
    assert "training.batch_size=16, or training.accumulation=2, which keeps the batch" in failure.hint


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be reported later",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error: Cuda failure 2 'out of memory'",
    ],
)
def test_a_library_that_found_no_memory_is_told_from_other_failures(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError(message.replace("out of memory", "oh").replace("ALLOC_FAILED", "oh")))


def test_a_long_message_is_quoted_in_whole_words(small: Made, tmp_path: Path, context: SessionContext) -> None:
    long = "CUDA out of memory. " + "reserved " * 40
    *_, last = failing_at(small(), tmp_path / "logs", context, 1, lambda: torch.OutOfMemoryError(long))
    assert isinstance(last, RunFailed)
    assert last.error.message.endswith("reserved reserved ...)")


def test_memory_that_runs_out_in_an_evaluation_asks_for_a_smaller_one(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    config = small({"training.evaluation_batch_size": 20})
    told = list(failing_at(config, tmp_path / "logs", context, 3, EXHAUSTIONS[0]))
    faults("memory exhaustions")
    assert isinstance(told[-1], RunFailed)
    assert "evaluating 20 images at once" in told[-1].error.message
    assert told[-1].error.hint == "set training.evaluation_batch_size=8"


@pytest.mark.parametrize("error", [EXHAUSTIONS[0], CRASHES[0]])
def test_a_failed_run_has_let_go_of_its_model_when_it_tells(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, error: Callable[[], Exception]
) -> None:
    def layers() -> int:
        return sum(type(thing) is nn.Conv2d for thing in gc.get_objects())

    gc.collect()
    before = layers()
    held = [(type(event), layers()) for event in failing_at(small(), tmp_path / "logs", context, 1, error)]
    faults("memory exhaustions")
    assert held[-1] == (RunFailed, before)
    assert held[-2][1] > before


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_crash_at_any_step_is_recorded_and_the_run_resumes_as_if_nothing_had_been(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, step: int
) -> None:
    config = small({"model.dropout": 0.5})
    whole = list(run(config, tmp_path / "whole", context=context))
    error = CRASHES[step % len(CRASHES)]
    told = list(failing_at(config, tmp_path / "cut", context, step, error))
    faults("crashes at a step")
    assert isinstance(told[-1], RunFailed)
    assert (told[-1].error.kind, told[-1].error.type) == ("crash", type(error()).__name__)
    assert told[-1].error.message in str(error())
    assert "Traceback" in told[-1].error.traceback
    assert run_exit_code(told[-1], None) == 1
    (folder,) = (tmp_path / "cut").iterdir()
    assert is_locked(folder) is False
    record = load_record(folder)
    kept = [event.step for event in told if isinstance(event, CheckpointSaved)]
    assert (record.status, [saved.step for saved in record.checkpoints]) == ("failed", kept)
    resumed = list(resume(folder, context=context))
    assert isinstance(resumed[-1], RunCompleted)
    wanted = [event.step_losses for event in whole if isinstance(event, EpochCompleted)]
    assert [epoch.step_losses for epoch in load_record(folder).epochs] == wanted


def test_after_any_failure_the_next_run_of_the_process_works(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    for number, error in enumerate([*EXHAUSTIONS, *CRASHES]):
        list(failing_at(small(), tmp_path / str(number), context, 2, error))
        faults("crashes at a step")
        assert isinstance(list(run(small(), tmp_path / f"{number} next", context=context))[-1], RunCompleted)


def test_the_batch_that_fits_is_a_power_of_two_below_what_failed(small: Made, tmp_path: Path) -> None:
    plan = make_plan(small({"training.batch_size": 48, "training.accumulation": 2}), tmp_path)
    memory, least = plan.memory_by, plan.memory_by.training(0, accumulation=2)
    needed = memory.training(24, accumulation=2)
    assert images_that_fit(plan, 100 * needed) == 8
    for free, peak in itertools.product(range(0, 2 * needed, needed // 50), (0, needed, 5 * needed)):
        fits = images_that_fit(plan, free, peak)
        assert fits in (0, 1, 2, 4, 8)
        assert fits == 0 or memory.training(fits, accumulation=2) <= free
    assert images_that_fit(plan, least) == 0


def test_what_no_machine_could_hold_is_told_before_anything_is_left_behind(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1":
        pytest.skip("this machine promises any amount of memory")
    images = {"data.size": 1024, "data.train_images": 10_000_000, "data.test_images": 1}
    huge = small({**images, "training.precision": "fp32", "data.source": "resident"})
    told = list(run(huge, tmp_path / "logs", context=context))
    faults("memory exhaustions")
    assert isinstance(told[-1], RunFailed)
    assert told[-1].error.kind == "memory"
    assert "smaller model or data set" in told[-1].error.hint
    assert not (tmp_path / "logs").exists()


def test_a_run_out_of_memory_is_a_row_of_its_study_with_its_reason(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults
) -> None:
    list(failing_at(small(), tmp_path / "logs", context, 2, EXHAUSTIONS[0]))
    faults("memory exhaustions")
    (folder,) = (tmp_path / "logs").iterdir()
    settled = current_run(tmp_path / "logs", StudyRun(0, "", {}, "", {}, run_id=folder.name, state="running"))
    assert settled.state == "failed"
    assert settled.reason.startswith("out of memory training on 32 images at once; 16 would fit")


DIVERGES = ("optimizer.name=sgd", "optimizer.lr=100.0", "optimizer.weight_decay=1.0")
TOO_LARGE = ("data.name=synthetic", "data.size=1024", "data.train_images=10000000", "training.precision=fp32",
             "data.source=resident")  # fmt: skip


@pytest.mark.parametrize(("changes", "told"), [(DIVERGES, "diverged at step"), (TOO_LARGE, "Unable to allocate")])
async def test_the_app_tells_of_a_failure_and_trains_the_next_run(
    make_app: Callable[..., Torchdeck], faults: Faults, changes: tuple[str, ...], told: str
) -> None:
    app, preset = make_app(), presets.load("quickstart")

    def start(*texts: str) -> None:
        app.post_message(StartRequested(preset.with_overrides([*texts, "training.threads=1"]), Label(preset.name)))

    async with app.run_test(size=(120, 30), notifications=True) as pilot:
        start(*changes)
        await until(pilot, lambda: told in screen_text(app))
        faults("failures in the app")
        feed = app.workspace.feed
        await until(pilot, lambda: not app.workspace.training)
        start("training.epochs=1", "data.train_limit=64", "data.test_limit=64")
        await until(pilot, lambda: app.workspace.feed is not feed and app.workspace.feed and app.workspace.feed.over)
        assert app.workspace.feed
        assert app.workspace.feed.record.status == "completed"


LOST = "CUDA error: device-side assert triggered"
CLEAN_UP = ["session.release_memory", "session.with_advice", "session.gc.collect", "recorder.write_caches"]


class Unspeakable(Exception):
    """An error that fails when it is to be told."""

    def __str__(self) -> str:
        raise RuntimeError(LOST)


def lost(*_: Any, **__: Any) -> Any:
    raise RuntimeError(LOST)


@pytest.mark.parametrize("error", [lambda: RuntimeError(LOST), Unspeakable])
@pytest.mark.parametrize("broken", [CLEAN_UP, *([step] for step in CLEAN_UP)], ids="+".join)
def test_a_clean_up_that_raises_costs_neither_the_last_event_nor_the_lock(
    small: Made,
    tmp_path: Path,
    context: SessionContext,
    faults: Faults,
    broken: list[str],
    error: Callable[[], Exception],
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        events = failing_at(small(), tmp_path / "logs", context, 5, error)
        told = [next(events)]
        for step in broken:
            patched.setattr(f"torchdeck.core.session.{step}", lost)
        told += events
    faults("clean-ups that raise", len(broken))
    last = told[-1]
    assert isinstance(last, RunFailed)
    # A cache that cannot be written ends the run before it comes to the other error.
    assert last.error.type in ("RuntimeError", "Unspeakable")
    folder = only_run(tmp_path / "logs")
    assert list(EventReader(folder).read())[-1] == last
    assert is_locked(folder) is False
    assert load_record(folder).status == "failed"
    *_, last = resume(folder, context=context)
    assert isinstance(last, RunCompleted)


def test_a_run_that_is_complete_stays_so_when_its_clean_up_raises(
    small: Made, tmp_path: Path, context: SessionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchdeck.core.session.session.release_memory", lost)
    *_, last = run(small(), tmp_path, context=context)
    assert isinstance(last, RunCompleted)
    assert is_locked(only_run(tmp_path)) is False
    *_, last = run(small(), tmp_path, context=context)
    assert isinstance(last, RunCompleted)
