"""The content of run.json, the RunStarted event, and the Failure of an exception."""

from __future__ import annotations

import platform
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ..config import config_hash, to_plain
from ..data.prepare import Prepared
from ..devices.torch_device import device_name, environment
from ..errors import BusyError, DiskError, DivergedError, InputError, TorchdeckError
from ..events import Failure, FailureKind, RunStarted
from ..runs.label import Label
from ..training.plan import Plan
from ..training.state import TrainingJob
from .out_of_memory import is_out_of_memory


def header_of(plan: Plan, prepared: Prepared, label: Label, now: float) -> dict[str, Any]:
    """The content of run.json: label, settings, data set and environment of a run."""
    return {
        "created": now,
        "preset": label.preset,
        "name": label.name,
        "tags": list(label.tags),
        "reported": [asdict(figure) for figure in label.reported],
        "study": asdict(label.study) if label.study else None,
        "config": to_plain(plan.config),
        "config_sha256": config_hash(plan.config),
        "data": {
            "name": plan.config.data.name,
            "sha256": prepared.fingerprint,
            "mean": prepared.mean,
            "std": prepared.std,
            "image": asdict(prepared.spec),
            "left_out": len(prepared.left_out),
        },
        "parameters": plan.parameters,
        "forward_flops": plan.forward_flops,
        "environment": environment(plan.device),
    }


def started_event(
    job: TrainingJob, prepared: Prepared, label: Label, run_id: str, resumed_from: int | None, *, exact: bool = True
) -> RunStarted:
    plan, ranks = job.plan, job.ranks
    training, images = plan.config.training, len(prepared.train.labels)
    own = {"host": platform.node(), "device": str(plan.device), "name": device_name(plan.device)}
    all_ranks = ranks.gather_values(own)
    exact = exact and (plan.device.type == "cpu" or training.deterministic)
    return RunStarted(
        run_id=run_id,
        resumed_from=resumed_from,
        preset=label.preset,
        name=label.name,
        reported=tuple(asdict(figure) for figure in label.reported),
        config=to_plain(plan.config),
        device=training.device,
        device_name=_names(all_ranks),
        parameters=plan.parameters,
        forward_flops=plan.forward_flops,
        epochs=training.epochs,
        steps_per_epoch=job.steps,
        train_images=images,
        test_images=len(prepared.test.labels),
        class_names=tuple(prepared.class_names),
        chosen_on="validation" if prepared.validation else "test",
        reproducible="exact" if exact else "seeded",
        environment=environment(plan.device),
        ranks=tuple(all_ranks) if ranks.world > 1 else (),
        origin=job.origin.to_json() if job.origin else {},
    )


def _names(all_ranks: list[dict[str, str]]) -> str:
    """The product names of the devices, equal ones counted: "4 x NVIDIA A100"."""
    counts = Counter(place["name"] for place in all_ranks)
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())


def failure_of(error: Exception, otherwise: str = "see the traceback in the run's log") -> Failure:
    """The failure that an exception means, for the last event of a run; `otherwise` is the hint for an unknown one."""
    kind: FailureKind = "crash"
    hint = error.hint if isinstance(error, TorchdeckError) else ""
    match error:
        case InputError():
            kind = "input"
        case BusyError():
            kind = "busy"
        case DivergedError():
            kind = "diverged"
        case DiskError():
            kind = "disk"
        case _ if is_out_of_memory(error):
            kind, hint = "memory", "choose a smaller model or data set, or set data.source=streamed"
        case _:
            hint = hint or otherwise
    message = error.message if isinstance(error, TorchdeckError) else _text(error) or type(error).__name__
    return Failure(kind, type(error).__name__, message, hint, "".join(traceback.format_exception(error)))


def _text(error: Exception) -> str:
    """An exception in its own words, as far as it can say them."""
    with suppress(Exception):
        return str(error)
    return ""
