"""The checks of the acceptance run (gpu.py), each one function: `python gpu_checks.py CHECK --folder F --data D`."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "null_cuda" / "inside")]

import host_time  # noqa: E402 - after the paths
import torch  # noqa: E402
from blocks import Times, alternate, seconds, spread, timed  # noqa: E402
from gpu_case import Case, accuracy, checked, train_seconds  # noqa: E402

from torchdeck.core.config import ExperimentConfig  # noqa: E402
from torchdeck.core.control import Control  # noqa: E402
from torchdeck.core.devices.torch_device import environment, open_sampler  # noqa: E402
from torchdeck.core.events import (  # noqa: E402
    EpochCompleted,
    RunCompleted,
    RunEvent,
    RunFailed,
    StepCompleted,
    WarningRaised,
)
from torchdeck.core.runs.reader import load_record  # noqa: E402
from torchdeck.core.session.session import SessionContext, resume, run  # noqa: E402
from torchdeck.core.training.compiled import compiler_missing  # noqa: E402
from torchdeck.core.training.loop import evaluate_step  # noqa: E402
from torchdeck.core.training.plan import make_plan  # noqa: E402
from torchdeck.core.training.state import evaluation_tally, set_learning_rate  # noqa: E402
from torchdeck.core.training.step import EagerSteps  # noqa: E402
from torchdeck.core.training.step_graph import open_steps  # noqa: E402

DEVICE = torch.device("cuda", 0)
WARM_UP = 3.0
"""Seconds of a run before its speed counts."""


def device(case: Case) -> None:
    """The environment, what `torchdeck doctor` says where its packages are installed, and what the sampler reads."""
    case.figures |= {"name": torch.cuda.get_device_name(DEVICE), **environment(DEVICE)}
    with suppress(ImportError):
        from torchdeck.tui.cli.doctor import examine

        case.figures |= {name: text for name, text in examine(case.folder, case.data).items() if "cuda" in name + text}
    sampler, read = open_sampler(DEVICE), dict[str, Any]()
    for step in range(3):
        read = {name: value for name, value in asdict(sampler(step)).items() if value is not None}
        time.sleep(0.1)
    case.figures |= {name: read[name] for name in ("power", "power_limit", "memory_used", "energy") if name in read}
    case.expect({"power", "memory_used", "utilization"} <= read.keys(), f"the sampler reads only {sorted(read)}")


def resume_in_new_process(case: Case) -> None:
    """Stop, and resume in a new process: resident and streamed data."""
    for source in ("resident", "streamed"):
        config = case.config("lenet", {"data.source": source, "training.epochs": 2})
        case.stopped(source, config, 5)
        case.resumed(source)


def exact(case: Case) -> None:
    """With deterministic algorithms, eager steps, replayed steps and a resumed run give equal weights."""
    fixed = {"training.deterministic": True, "training.epochs": 2, "data.train_limit": 10_000, "data.test_limit": 1000}
    for preset in ("resnet9", "improved-cnn")[: 1 if case.rehearse else 2]:
        eager = case.config(preset, {**fixed, "training.cuda_graph": "off"})
        graph = case.config(preset, {**fixed, "training.cuda_graph": "on"})
        case.train(f"{preset}-eager", eager)
        case.train(f"{preset}-graph", graph)
        case.stopped(f"{preset}-resumed", graph, 9)
        case.resumed(f"{preset}-resumed")
        eager_weights, graph_weights, resumed_weights = (
            case.weights(f"{preset}-{how}") for how in ("eager", "graph", "resumed")
        )
        case.figures[preset] = {"graph": graph_weights == eager_weights, "resumed": resumed_weights == graph_weights}
        case.expect(graph_weights == eager_weights, f"{preset}: replayed steps differ from eager ones")
        case.expect(resumed_weights == graph_weights, f"{preset}: the resumed run differs")


def waits(case: Case) -> None:
    """No step of training or evaluation waits for the device."""
    for preset in ("resnet9", "speedrun-94"):
        for source in ("resident", "streamed"):
            job = host_time.job_of(case.config(preset, {"data.source": source}), case.data)
            for steps in (EagerSteps(job), open_steps(job)):
                job.model.train()
                job.tally.clear()
                batches = steps.of_epoch(job.take_plan(1), 0)
                for _ in range(4):  # until the step is captured
                    next(batches)()
                torch.cuda.set_sync_debug_mode("error")
                try:
                    set_learning_rate(job, 4)
                    next(batches)()
                finally:
                    torch.cuda.set_sync_debug_mode("default")
                batches.close()  # type: ignore[attr-defined]
                case.expect(not steps.warnings, f"{preset}: {steps.warnings}", number=False)
            job.model.eval()
            tally = evaluation_tally(job.plan, len(job.test_batches), job.ranks)
            images, labels = next(iter(job.test_batches.evaluate(job.plan.evaluated_at_once)))
            evaluate_step(job, images, labels, tally)
            torch.cuda.set_sync_debug_mode("error")
            try:
                if len(tally.losses) > 1:
                    evaluate_step(job, images, labels, tally)
            finally:
                torch.cuda.set_sync_debug_mode("default")
    case.figures["waits"] = 0


def parity(case: Case) -> None:
    """Two epochs of resnet9 in each precision: accuracies that differ little, and their speed."""
    found: dict[str, float] = {}
    for precision in ("fp32", "bf16", "fp16"):
        events = case.train(precision, case.config("resnet9", {"training.precision": precision, "training.epochs": 2}))
        found[precision] = accuracy(events)
        case.figures[precision] = f"{100 * found[precision]:.2f} % in {train_seconds(events):.2f} s"
    case.expect(max(found.values()) - min(found.values()) < 0.05, f"accuracies differ: {found}")
    case.expect(min(found.values()) > 0.4, f"accuracies are low: {found}")


def speedrun(case: Case) -> None:
    """speedrun-94 with three seeds: accuracy, seconds of training, seconds of the whole run."""
    found: list[float] = []
    for seed in (1, 2, 3):
        started = time.perf_counter()
        events = case.train(f"seed-{seed}", case.config("speedrun-94", {"training.seed": seed, "training.epochs": 8}))
        wall = time.perf_counter() - started
        found.append(accuracy(events))
        case.figures[f"seed {seed}"] = f"{100 * found[-1]:.2f} %, {train_seconds(events):.2f} s of {wall:.2f} s"
    case.expect(sum(found) / 3 > 0.935, f"the mean accuracy is low: {found}")


def dead(case: Case) -> None:
    """A device-side assert in the middle of a run: its last event is a failure, and its lock is free."""
    config, events = case.config("lenet", {"training.epochs": 3}), list[RunEvent]()
    for event in run(config, case.folder / "logs", context=SessionContext(case.data, sample_every=0.0), run_id="dead"):
        events.append(event)
        if isinstance(event, StepCompleted) and event.step == 3 and event.phase == "train":
            _kill_device(case)
    case.expect(isinstance(events[-1], RunFailed), f"it ended with {type(events[-1]).__name__}", number=False)
    record = load_record(case.folder / "logs" / "dead")
    case.expect(record.status == "failed", f"its log says {record.status}", number=False)
    if isinstance(events[-1], RunFailed):
        case.figures["error"] = events[-1].error.message.splitlines()[0]


def _kill_device(case: Case) -> None:
    if case.rehearse:
        ctypes.c_int.in_dll(ctypes.CDLL(None), "null_dead").value = 710
    else:
        torch.zeros(1, device=DEVICE)[torch.tensor([5], device=DEVICE)]


def host(case: Case) -> None:
    """Seconds of training loops beside bare loops, with the device's work done."""
    steps, rounds = (5, 2) if case.rehearse else (100, 10)
    for preset in ("lenet", "resnet9"):
        found = alternate({name: _synchronized(arm) for name, arm in _arms(preset, steps, rounds).items()}, rounds)
        times = {name: spread(seconds(each, "wall")).median / steps for name, each in found.items()}
        case.figures |= {f"{preset} {name} (us a step)": round(1e6 * time) for name, time in times.items()}
        case.expect(times["graph"] < 1.1 * times["eager"], f"{preset}: graphs are slower than eager steps")


def _synchronized(arm: Callable[[], object]) -> Callable[[], Times]:
    return lambda: timed(lambda: (arm(), torch.cuda.synchronize()))


def _arms(preset: str, steps: int, rounds: int) -> dict[str, Callable[[], object]]:
    whole = (rounds + 2) * steps + 10
    config = host_time.config_of(preset, "off", whole)
    return {
        "eager": host_time.training_loop(config, steps),
        "graph": host_time.training_loop(host_time.config_of(preset, "on", whole), steps),
        "bare, gathering": host_time.bare_loop(config, steps, gathers=True),
        "bare, one batch": host_time.bare_loop(config, steps, gathers=False),
    }


def graphs(case: Case) -> None:
    """Images a second with eager steps, with steps by CUDA graph, and compiled."""
    kinds: dict[str, dict[str, Any]] = {
        "eager": {"training.cuda_graph": "off"},
        "graph": {"training.cuda_graph": "on"},
        "compiled": {"training.compile": True},
    }
    if case.rehearse or compiler_missing(DEVICE):
        del kinds["compiled"]
    for preset in ("lenet", "resnet9"):
        for kind, changes in kinds.items():
            speed, _ = _speed(case, f"{preset}-{kind}", case.config(preset, {**changes, "training.epochs": 1000}), 4.0)
            case.figures[f"{preset} {kind}"] = f"{speed:,.0f} images/s"


def throughput(case: Case) -> None:
    """Images a second of presets, FLOP/s over the card's matrix rate, and the plan's memory over the peak."""
    rate = _matrix_rate(*((64, 1) if case.rehearse else (8192, 50)))
    case.figures["bf16 matrix product"] = f"{rate / 1e12:.1f} TFLOP/s"
    for preset in ("lenet", "resnet18", "wrn-28-10", "speedrun-94"):
        config = case.config(preset, {"training.epochs": 1000})
        plan = make_plan(config, case.data)
        speed, peak = _speed(case, preset, config, 5.0)
        share, memory = 3 * plan.forward_flops * speed / rate, plan.allocated / max(1, peak)
        case.figures[preset] = f"{speed:,.0f} images/s, {share:.3f} of the matrix rate, plan over peak {memory:.2f}"
        case.expect(0.5 < memory < 2, f"{preset}: the plan's memory is {memory:.2f} of the peak")


def _speed(case: Case, name: str, config: ExperimentConfig, length: float) -> tuple[float, int]:
    """Images a second within the epochs of a run of `length` seconds after its warm-up, and its peak memory (bytes)."""
    control, started = Control(), time.perf_counter()
    speeds: list[float] = []
    peak, until = 0, started + (0.0 if case.rehearse else WARM_UP + length)
    for event in run(config, case.folder / "logs", control, context=SessionContext(case.data), run_id=name):
        now = time.perf_counter()
        match event:
            case EpochCompleted():
                if not speeds or now > started + WARM_UP:
                    speeds.append(event.images_per_second)
                if now > until:
                    control.request("stop", "measured")
            case RunCompleted():
                peak = event.peak_memory or 0
            case RunFailed():
                raise RuntimeError(event.error.message)
            case _:
                pass
    return spread(speeds[1:] or speeds).median, peak


def _matrix_rate(size: int, times: int) -> float:
    """FLOP/s of a product of bf16 matrices, the best of four."""
    left, right = (torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(times):
            left @ right
        torch.cuda.synchronize()
        best = max(best, 2 * size**3 * times / (time.perf_counter() - start))
    return best


def resnet18(case: Case) -> None:
    """Epochs of resnet18 for the time that is left."""
    control, until, done = Control(), time.monotonic() + case.seconds - 15, list[float]()
    warnings: list[str] = []
    for event in run(
        case.config("resnet18"), case.folder / "logs", control, context=SessionContext(case.data), run_id="run"
    ):
        match event:
            case EpochCompleted():
                done.append(event.metrics["test/accuracy"])
                case.figures |= {"epochs": len(done), "best": f"{100 * max(done):.2f} %", "s": round(event.seconds, 2)}
                if time.monotonic() > until:
                    control.request("stop", "out of time")
            case WarningRaised():
                warnings.append(event.message)
            case RunFailed():
                raise RuntimeError(event.error.message)
            case _:
                pass
    case.figures |= {"warnings": warnings} if warnings else {}


def resume_run(case: Case) -> None:
    """Resume the run of a folder; not a check."""
    checked(list(resume(case.folder, context=SessionContext(case.data))))


CHECKS: dict[str, Callable[[Case], None]] = {
    "device": device,
    "resume": resume_in_new_process,
    "exact": exact,
    "waits": waits,
    "parity": parity,
    "speedrun": speedrun,
    "dead": dead,
    "host": host,
    "graphs": graphs,
    "throughput": throughput,
    "resnet18": resnet18,
    "resume-run": resume_run,
}


def main() -> None:
    """Run one check, and print its result as one JSON line."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("check", choices=CHECKS)
    made.add_argument("--folder", type=Path, required=True)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--rehearse", action="store_true")
    asked = made.parse_args()
    case = Case(asked.folder, asked.data, asked.seconds, asked.rehearse)
    if asked.rehearse:
        import gpu_process  # on null CUDA only

        gpu_process.judge_nothing()
        torch.set_num_threads(1)
        if asked.check != "dead":
            # Each allocation is then fresh, and so zero: what no kernel wrote is a number. Freed on a dead device, it
            # would end the process.
            os.environ["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"
    try:
        CHECKS[asked.check](case)
    except Exception:  # noqa: BLE001 - a failure of any kind is the result
        case.wrong.append(traceback.format_exc())
    result = {
        "passed": not case.wrong,
        "figures": case.figures,
        **({"error": "\n".join(case.wrong)} if case.wrong else {}),
    }
    print(json.dumps(result, default=str))
    sys.exit(1 if case.wrong else 0)


if __name__ == "__main__":
    main()
