"""What tests on null CUDA share: a process for each check, small runs of every preset, and what CUDA counted."""

from __future__ import annotations

import ctypes
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from presets_on_noise import on_noise

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import CommandName, Control
from torchdeck.core.data import open_dataset
from torchdeck.core.data.epoch_plan import epoch_plan
from torchdeck.core.data.prepare import Prepared, prepare
from torchdeck.core.events import RunCompleted, RunEvent, RunStarted, StepCompleted
from torchdeck.core.session import restore, saver
from torchdeck.core.session.session import SessionContext, resume, run
from torchdeck.core.training import loop
from torchdeck.core.training.loop import evaluate_step
from torchdeck.core.training.plan import make_plan
from torchdeck.core.training.process_group import SINGLE
from torchdeck.core.training.state import build_job, configure_process, evaluation_tally, set_learning_rate
from torchdeck.core.training.step import EagerSteps
from torchdeck.core.training.step_graph import open_steps

Result = TypeVar("Result")


def forked(function: Callable[..., Result], *arguments: Any, **environment: str) -> Result:
    """What a function gives in a process of its own, which finds CUDA as a new one does; its failure fails here."""
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if not child:
            _leave(told.fileno(), function, arguments, environment)
        _, status = os.waitpid(child, 0)
        told.seek(0)
        content = told.read()
    assert content, f"the process ended with status {status}"
    failure, result = pickle.loads(content)
    assert not failure, failure
    return result


def _leave(to: int, function: Callable[..., Any], arguments: Iterable[Any], environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    try:
        torch.set_num_threads(1)
        content = pickle.dumps(("", function(*arguments)))
    except BaseException:  # noqa: BLE001 - whatever it is, the test tells it
        content = pickle.dumps((traceback.format_exc(), None))
    os.write(to, content)
    os._exit(0)


@dataclass(frozen=True, slots=True)
class Counts:
    """What CUDA was asked for: kernels of all kinds (with copies on the device), waits, copies to and from the host."""

    launches: int
    waits: int
    to_device: int
    to_host: int


_NULL = ctypes.CDLL(None)


def _eigenvectors(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Those of the identity: the solver looks into numbers that no kernel wrote."""
    values, vectors = _EIGH(torch.eye(len(matrix), dtype=matrix.dtype))
    return values.to(matrix.device), vectors.to(matrix.device)


_EIGH, torch.linalg.eigh = torch.linalg.eigh, _eigenvectors


def value_of(name: str) -> Any:
    """A number that null CUDA keeps, by its name."""
    return ctypes.c_ulong.in_dll(_NULL, f"null_{name}")


def counts() -> Counts:
    """What was counted so far."""
    copies = (ctypes.c_ulong * 5).in_dll(_NULL, "null_copies")
    launches = sum(value_of(name).value for name in ("launches", "blas", "dnn", "memsets")) + copies[3]
    return Counts(launches, value_of("waits").value, copies[1], copies[2])


def counted(work: Callable[[], object]) -> Counts:
    """What some work asks of CUDA."""
    before = counts()
    work()
    after = counts()
    return Counts(*(getattr(after, name) - getattr(before, name) for name in Counts.__dataclass_fields__))


def bytes_on(device: int) -> int:
    """Bytes that a device's memory holds."""
    used = _NULL.null_bytes
    used.restype = ctypes.c_ulong
    return used(device)


def small(preset: str, changes: Mapping[str, Any] = {}, *, steps: int = 3) -> ExperimentConfig:
    """A preset on noise, on the GPU."""
    return on_noise(preset, {"training.device": "cuda", **changes}, steps=steps)


@dataclass(frozen=True, slots=True)
class Steps:
    """What a preset's training step and evaluation step ask of CUDA, and its memory (bytes) beside the plan's."""

    train: Counts
    evaluate: Counts
    peak: int
    planned: int
    precision: str
    replayed: Counts
    """Of a training step by CUDA graph; of an eager one where it could not be captured."""
    warnings: list[str]


def steps_of(config: ExperimentConfig) -> Steps:
    """The counts of a whole step after a few; no event is due."""
    os.environ["NULL_CUDA_FAST"] = "1"
    plan = make_plan(config, Path())
    configure_process(plan)
    job = build_job(plan, prepared(config), SINGLE)
    order = epoch_plan(len(job.train_batches), 1, 1, plan.config.data)

    def counts_of(steps: EagerSteps) -> Counts:
        job.model.train()
        job.tally.clear()
        batches = steps.of_epoch(order, 0)

        def step() -> None:
            taken = next(batches)
            set_learning_rate(job, job.position.step)
            taken()
            job.position.step += 1
            if job.lookahead:
                job.lookahead.stepped(job.position.step)

        found = [counted(step) for _ in range(job.steps)]
        return max(found[4:-1], key=lambda counts: counts.launches)

    eager = counts_of(EagerSteps(job))
    job.model.eval()
    tally = evaluation_tally(plan, len(job.test_batches), job.ranks)
    evaluated: list[Counts] = []
    for images, labels in job.test_batches.evaluate(plan.evaluated_at_once):
        evaluated.append(counted(partial(evaluate_step, job, images, labels, tally)))
    peak = torch.cuda.max_memory_allocated()
    graph = open_steps(job)
    replayed = counts_of(graph)
    return Steps(eager, evaluated[1], peak, plan.allocated, plan.config.training.precision, replayed, graph.warnings)


def launches_of_update(config: ExperimentConfig) -> int:
    """The launches of an optimizer's update, after one that made its state."""
    plan = make_plan(config, Path())
    configure_process(plan)
    job = build_job(plan, prepared(config), SINGLE)
    for parameter in job.model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    job.optimizer.step()
    return counted(job.optimizer.step).launches


def prepared(config: ExperimentConfig) -> Prepared:
    """The data of a config on noise."""
    steps = prepare(open_dataset(config.data, Path()), 1, config.data.source == "streamed")
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def judge_nothing() -> None:
    """What no kernel wrote is not judged: a check for finite numbers is a kernel, too."""
    for module in (loop, saver, restore):
        for check in ("check_tensors", "check_losses", "check_figures", "check_scaler"):
            if hasattr(module, check):
                setattr(module, check, lambda *_: None)


def train(
    config: ExperimentConfig,
    folder: Path,
    stop_at: int = 0,
    watch: Callable[[RunEvent], object] = lambda _: None,
    sample_every: float = 0.0,
    command: CommandName = "stop",
) -> list[RunEvent]:
    """The events of a run, one for each step, given a command after step `stop_at`; `watch` sees each as it comes."""
    control = Control()
    around = SessionContext(folder, sample_every=sample_every, wait=lambda _: None)

    def seen(event: RunEvent) -> RunEvent:
        if stop_at and isinstance(event, StepCompleted) and event.phase == "train" and event.step == stop_at:
            control.request(command, "test")
        watch(event)
        return event

    return [seen(event) for event in _played(run(config, folder / "logs", control, context=around, run_id="run"))]


def go_on(folder: Path) -> list[RunEvent]:
    """The events of the run's next attempt."""
    return list(_played(resume(folder / "logs" / "run", context=SessionContext(folder))))


def _played(events: Iterable[RunEvent]) -> Iterable[RunEvent]:
    judge_nothing()
    if "NULL_CUDA_CACHING" not in os.environ:
        # Each block of memory is then fresh, and so zero: what no kernel wrote is 0, not what was there before.
        os.environ["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"
    return events


def ends(events: list[RunEvent], status: str, step: int) -> None:
    """Assert how a run ended, and at which step."""
    last = events[-1]
    assert isinstance(last, RunCompleted), last
    assert (last.status, last.step) == (status, step)


def stops_and_resumes(folder: Path, preset: str, changes: Mapping[str, Any]) -> list[RunEvent]:
    """The events of a run's second attempt, in a process of its own like the first."""
    ends(forked(train, small(preset, changes), folder, 2), "stopped", 2)
    events = forked(go_on, folder)
    (started,) = (event for event in events if isinstance(event, RunStarted))
    assert started.resumed_from == 2
    ends(events, "completed", 4)
    return events
