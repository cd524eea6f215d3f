"""A job: everything one training works on, built from a plan, and its whole state as tensors and JSON."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from core.data.batches import Batches, open_batches
from core.data.dataset import Split
from core.data.index_plan import derive_seed
from core.data.prepare import Prepared
from core.models import build
from core.optim import OPTIMIZERS, SCHEDULES
from core.optim.schedules import Schedule
from core.plan import Plan, steps_per_epoch


@dataclass(slots=True)
class Sums:
    """Running sums of one phase of one epoch, on the device: loss times images, hits, images seen."""

    loss: Tensor
    hits: Tensor
    images: int = 0


@dataclass(slots=True)
class Position:
    """Where a run stands: what a checkpoint keeps beside tensors."""

    epoch: int = 1
    batch: int = 0
    step: int = 0
    best_figure: float | None = None
    best_epoch: int | None = None
    bad_epochs: int = 0
    epoch_seconds: float = 0.0
    train_seconds: float = 0.0


@dataclass(slots=True)
class Predictions:
    """The test split's three likeliest classes [N, 3], their probabilities [N, 3], and the true classes [N]."""

    classes: Tensor
    probabilities: Tensor
    labels: Tensor


@dataclass(slots=True)
class Job:
    """All that one training works on."""

    plan: Plan
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    train_batches: Batches
    validation_batches: Batches | None
    test_batches: Batches
    losses: Tensor
    sums: Sums
    forward: Callable[[Tensor], Tensor]
    position: Position = field(default_factory=Position)
    resumed_mid_epoch: bool = False
    predictions: Predictions | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        return steps_per_epoch(len(self.train_batches), self.plan.config.training.batch_size)


def build_job(plan: Plan, prepared: Prepared) -> Job:
    """Build the model, optimizer and batches of a plan on its device, at the very start."""
    training = plan.config.training
    model = build(plan.config.model, prepared.spec).to(plan.device)
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)
    steps = steps_per_epoch(len(prepared.train.labels), training.batch_size)
    fp16 = training.precision == "fp16"
    validation = prepared.validation
    return Job(
        plan=plan,
        model=model,
        optimizer=OPTIMIZERS.builder(plan.config.optimizer.name)(plan.config.optimizer, model.parameters()),
        schedule=SCHEDULES.builder(plan.config.schedule.name)(plan.config.schedule, training.epochs, steps),
        scaler=torch.amp.GradScaler(plan.device.type, enabled=fp16),
        train_batches=_batches(plan, prepared, prepared.train),
        validation_batches=_batches(plan, prepared, validation) if validation else None,
        test_batches=_batches(plan, prepared, prepared.test),
        losses=torch.zeros(steps, device=plan.device),
        sums=new_sums(plan.device),
        # Compiled without replacing the model, whose parameter names checkpoints keep.
        forward=torch.compile(model) if training.compile else model,
    )


def _batches(plan: Plan, prepared: Prepared, split: Split) -> Batches:
    config = plan.config
    return open_batches(
        split,
        device=plan.device,
        streamed=config.data.source == "streamed",
        mean=prepared.mean,
        std=prepared.std,
        crop_padding=config.data.crop_padding,
        channels_last=bool(config.training.channels_last),
    )


def new_sums(device: torch.device) -> Sums:
    """Sums at zero; float64, so that the order of a resumed epoch's additions is all that matters."""
    zero = torch.zeros((), dtype=torch.float64, device=device)
    return Sums(zero, zero.clone())


def configure_process(plan: Plan) -> None:
    """Set what is the process's own: threads, seeds, and which CUDA algorithms may be used."""
    training = plan.config.training
    assert isinstance(training.threads, int)
    torch.set_num_threads(training.threads)
    # cuBLAS reads this when it first starts; without it, deterministic algorithms raise.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(derive_seed(training.seed, "weights", 0))
    on_gpu = plan.device.type == "cuda"
    torch.use_deterministic_algorithms(training.deterministic and on_gpu)
    torch.backends.cudnn.benchmark = on_gpu and not training.deterministic
    torch.backends.cuda.matmul.allow_tf32 = not training.deterministic
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(plan.device)


def state_of(job: Job) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything a resumed run needs: tensors by name, and the rest in JSON's types."""
    tensors = {f"model.{name}": value for name, value in job.model.state_dict().items()}
    optimizer = job.optimizer.state_dict()
    scalars: dict[str, Any] = {}
    for index, state in optimizer["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    tensors |= {"losses": job.losses, "sums.loss": job.sums.loss, "sums.hits": job.sums.hits}
    tensors["random.cpu"] = torch.get_rng_state()
    if job.plan.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(job.plan.device)
    position = {name: getattr(job.position, name) for name in Position.__dataclass_fields__}
    state = {
        "position": position,
        "optimizer_scalars": scalars,
        "schedule": job.schedule.state(),
        "scaler": job.scaler.state_dict(),
        "sums_images": job.sums.images,
    }
    return tensors, state


def restore(job: Job, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Put a job where `state_of` found it; the random state comes last, so that nothing moves it again."""
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    job.model.load_state_dict(weights)
    job.optimizer.load_state_dict({"state": _optimizer_state(job, tensors, state), **_groups(job.optimizer)})
    job.schedule.restore(state["schedule"])
    job.scaler.load_state_dict(state["scaler"])
    job.position = Position(**state["position"])
    job.losses.copy_(tensors["losses"])
    device = job.plan.device
    job.sums = Sums(tensors["sums.loss"].to(device), tensors["sums.hits"].to(device), int(state["sums_images"]))
    job.resumed_mid_epoch = job.position.batch > 0
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def _optimizer_state(job: Job, tensors: dict[str, Tensor], state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    parameters = list(job.model.parameters())
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            found.setdefault(int(index), {})[name] = _like(parameters[int(index)], value)
    for key, value in state["optimizer_scalars"].items():
        index, name = key.split(".", 1)
        found.setdefault(int(index), {})[name] = value
    return found


def _like(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """The value in the parameter's memory format, which checkpoints do not keep."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def _groups(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"param_groups": optimizer.state_dict()["param_groups"]}
