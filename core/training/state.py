"""The training job: model, optimizer, batches and position of one training, and its state for checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..data.batches import Augmentation, Batches, augmentation_of, open_batches
from ..data.dataset import ImageNames, Split
from ..data.epoch_plan import epoch_plan
from ..data.index_plan import ALL, IndexPlan, Shard, derive_seed
from ..data.prepare import Prepared
from ..models import build
from ..models.parts import Freezer
from ..models.whitening import Whitening
from ..optim import OPTIMIZERS, SCHEDULES
from ..optim.lookahead import Lookahead
from ..optim.schedules import Schedule
from .compiled import compiled
from .divergence import CountedScaler
from .inference import Predictions
from .malloc import keep_freed_memory
from .memory import WHITENING_IMAGES
from .metrics import Tally
from .plan import Plan, steps_per_epoch
from .process_group import SINGLE, Ranks
from .starting_weights import Origin, start_from_weights


@dataclass(slots=True)
class Position:
    """The progress of a training; a checkpoint keeps it beside the tensors."""

    epoch: int = 1
    batch: int = 0
    step: int = 0
    best_figure: float | None = None
    best_epoch: int | None = None
    bad_epochs: int = 0
    epoch_seconds: float = 0.0
    train_seconds: float = 0.0
    reached_target: bool = False
    roll_backs: int = 0
    energy: float | None = None
    """Joules since the last epoch ended; None where the device does not report its energy or power."""

    @property
    def lr_factor(self) -> float:
        """The factor that roll-backs left of the learning rate."""
        return 0.5**self.roll_backs


@dataclass(slots=True)
class TrainingJob:
    """Everything that one training works on."""

    plan: Plan
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: CountedScaler
    train_batches: Batches
    validation_batches: Batches | None
    test_batches: Batches
    test_names: ImageNames
    tally: Tally
    """The tally of the current epoch."""
    forward: Callable[[Tensor], Tensor]
    """The model as a training step calls it: compiled, with gradients averaged over the ranks."""
    freezer: Freezer
    origin: Origin | None = None
    """Where the first weights came from; None where they were random, and in a resumed run."""
    ranks: Ranks = SINGLE
    lookahead: Lookahead | None = None
    position: Position = field(default_factory=Position)
    lr_factor: float | None = None
    """The factor of all learning rates that was set last."""
    drawn_plan: tuple[int, IndexPlan] | None = None
    """The index plan of an epoch, by its number."""
    resumed_mid_epoch: bool = False
    predictions: Predictions | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        return steps_per_epoch(len(self.train_batches), self.plan.config.training.batch_size)

    @property
    def epoch_start_step(self) -> int:
        """The step at which the current epoch started."""
        return (self.position.epoch - 1) * self.steps

    @property
    def applied_lr(self) -> float:
        """The learning rate of the first parameter group, as it was set last."""
        return self.optimizer.param_groups[0]["initial_lr"] * (1.0 if self.lr_factor is None else self.lr_factor)

    def draw_plan(self, epoch: int) -> None:
        """Draw the index plan of an epoch for `take_plan`."""
        config = self.plan.config
        self.drawn_plan = epoch, epoch_plan(len(self.train_batches), config.training.seed, epoch, config.data)

    def take_plan(self, epoch: int) -> IndexPlan:
        """The index plan of an epoch, which may have been drawn ahead."""
        if self.drawn_plan is None or self.drawn_plan[0] != epoch:
            self.draw_plan(epoch)
        assert self.drawn_plan is not None
        (_, plan), self.drawn_plan = self.drawn_plan, None
        return plan

    def weight(self, images: int) -> float:
        """The weight of this rank's mean loss in the mean over the current batch, for `images` of its images."""
        if self.ranks.world == 1:
            return 1.0
        size = self.plan.config.training.batch_size
        return images * self.ranks.world / min(size, len(self.train_batches) - self.position.batch * size)

    def without_gradient_sync(self) -> AbstractContextManager[object]:
        """Do not average gradients over the ranks inside, while they are accumulated."""
        model = getattr(self.forward, "model", self.forward)
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def build_job(plan: Plan, prepared: Prepared, ranks: Ranks = SINGLE, *, pretrained: bool = True) -> TrainingJob:
    """Build the model, optimizer and batches of a plan on its device, at the start of the run.

    Not `pretrained`, it stays at random weights, for a checkpoint to be restored.
    """
    training = plan.config.training
    model = build(plan.config.model, prepared.spec).to(plan.device)
    if training.sync_batch_norm and ranks.world > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    origin = start_from_weights(model, plan.config) if pretrained else None
    if training.precision == "fp64":
        model = model.double()
    if training.channels_last:
        model = model.to(memory_format=torch.channels_last)
    train_batches = _batches(plan, prepared, prepared.train, ranks.shard, augmentation_of(plan.config.data))
    if ranks.is_leader:
        _whiten(model, train_batches)
    freezer = Freezer(model, getattr(plan.config.model, "freeze", "none"), training.freeze_epochs)
    freezer.start_epoch(1)
    steps = steps_per_epoch(len(train_batches), training.batch_size)
    validation = prepared.validation
    return TrainingJob(
        plan=plan,
        model=model,
        optimizer=_optimizer(plan, model),
        schedule=SCHEDULES.builder(plan.config.schedule.name)(plan.config.schedule, training.epochs, steps),
        scaler=CountedScaler(plan.device.type, enabled=training.precision == "fp16"),
        train_batches=train_batches,
        validation_batches=_batches(plan, prepared, validation, ranks.shard) if validation is not None else None,
        test_batches=_batches(plan, prepared, prepared.test, ranks.shard),
        test_names=prepared.test.names,
        tally=training_tally(plan, len(train_batches), ranks),
        forward=_forward(plan, model, ranks),
        freezer=freezer,
        origin=origin,
        ranks=ranks,
        lookahead=Lookahead(model, training.lookahead, steps * training.epochs) if training.lookahead else None,
    )


def _forward(plan: Plan, model: nn.Module, ranks: Ranks) -> Callable[[Tensor], Tensor]:
    """The model as a training step calls it; collective over all ranks."""
    wrapped, training = ranks.wrap(model), plan.config.training
    return compiled(wrapped, training, plan.device, ranks) if training.compile else wrapped


def start_training_mode(job: TrainingJob) -> bool:
    """Put the model into training mode for the current epoch; returns whether its frozen part has changed.

    Collective over the ranks where it has.
    """
    changed = job.freezer.start_epoch(job.position.epoch)
    if changed:
        job.forward = _forward(job.plan, job.model, job.ranks)
    return changed


def _whiten(model: nn.Module, batches: Batches) -> None:
    """Fit a whitening layer to the first training images."""
    for module in model.modules():
        if isinstance(module, Whitening):
            images, _ = next(iter(batches.evaluate(min(len(batches), WHITENING_IMAGES))))
            module.fit(images)


def _optimizer(plan: Plan, model: nn.Module) -> torch.optim.Optimizer:
    options = plan.config.optimizer
    optimizer = OPTIMIZERS.builder(options.name)(options, model)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
        group["half"] = plan.config.training.precision in ("fp16", "bf16")
        if plan.device.type == "cuda":
            # A tensor, so that the replay of a captured step uses the present learning rate.
            group["lr"] = torch.full((), group["lr"], device=plan.device)
    return optimizer


def training_tally(plan: Plan, images: int, ranks: Ranks) -> Tally:
    """An empty tally for an epoch over `images` training images."""
    size = plan.config.training.batch_size
    sizes, mine = ALL.sizes(images, size), ranks.shard.sizes(images, size)
    return Tally(sizes, mine, plan.device)


def evaluation_tally(plan: Plan, images: int, ranks: Ranks) -> Tally:
    """An empty tally for the evaluation of `images` images; a step is one batch on every rank."""
    size = plan.config.training.evaluation_batch_size
    assert isinstance(size, int)
    mine = [part.stop - part.start for part in ranks.shard.blocks(images, size)]
    return Tally(ALL.sizes(images, size * ranks.world), mine, plan.device)


def _batches(
    plan: Plan, prepared: Prepared, split: Split, shard: Shard, augmentation: Augmentation | None = None
) -> Batches:
    config = plan.config
    return open_batches(
        split,
        device=plan.device,
        streamed=config.data.source == "streamed",
        mean=prepared.mean,
        std=prepared.std,
        channels_last=bool(config.training.channels_last),
        augmentation=augmentation,
        dtype=torch.float64 if config.training.precision == "fp64" else torch.float32,
        shard=shard,
    )


def configure_process(plan: Plan) -> None:
    """Configure this process: threads, seeds, and which CUDA algorithms may be used."""
    training = plan.config.training
    assert isinstance(training.threads, int)
    torch.set_num_threads(training.threads)
    # cuBLAS reads this at its start; without it, deterministic algorithms raise an error.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(derive_seed(training.seed, "weights", 0))
    on_gpu = plan.device.type == "cuda"
    exact = training.deterministic and on_gpu
    if exact != torch.are_deterministic_algorithms_enabled():
        # Only where it changes: the call imports torch's compiler, two seconds.
        torch.use_deterministic_algorithms(exact)
    torch.backends.cudnn.benchmark = on_gpu and not training.deterministic
    torch.backends.cuda.matmul.allow_tf32 = not training.deterministic
    torch.backends.cudnn.allow_tf32 = not training.deterministic
    if on_gpu:
        # First of all that asks CUDA something: its statistics fail before it is initialised, and what names no device
        # (pinned memory, cuBLAS's handles) would open a context on cuda:0.
        torch.cuda.set_device(plan.device)
        torch.cuda.reset_peak_memory_stats(plan.device)
    else:
        keep_freed_memory()


def set_learning_rate(job: TrainingJob, step: int) -> float:
    """Set the learning rate for a step, counted from 0; returns that of the main parameters."""
    factor = job.schedule.at(step) * job.position.lr_factor * job.plan.config.training.lr_rule
    for group in job.optimizer.param_groups if factor != job.lr_factor else ():
        rate = group["initial_lr"] * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
    job.lr_factor = factor
    return job.plan.config.optimizer.lr * factor


def state_of(job: TrainingJob) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The complete state for a checkpoint: tensors by name, and the rest in JSON's types. Collective over all ranks."""
    tensors = {f"model.{name}": value for name, value in job.model.state_dict().items()}
    optimizer = job.optimizer.state_dict()
    scalars: dict[str, Any] = {}
    for index, state in optimizer["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    job.tally.combine(job.ranks)
    tensors |= {"losses": job.tally.losses, "sums.hits": job.tally.hits, "skipped": job.tally.skipped}
    if job.lookahead:
        tensors |= {f"lookahead.{name}": value for name, value in job.lookahead.state().items()}
    random = {"random.cpu": torch.get_rng_state()}
    if job.plan.device.type == "cuda":
        random["random.cuda"] = torch.cuda.get_rng_state(job.plan.device)
    for name, value in random.items():
        tensors |= {_of_rank(name, rank): state for rank, state in enumerate(job.ranks.gather(value))}
    position = {name: getattr(job.position, name) for name in Position.__dataclass_fields__}
    state = {
        "position": position,
        "optimizer_scalars": scalars,
        "schedule": job.schedule.state(),
        "scaler": job.scaler.state_dict(),
    }
    return tensors, state


def restore(job: TrainingJob, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Load a state from `state_of` into a job; the random state comes last, so that nothing changes it afterwards."""
    job.model.load_state_dict(_without_prefix("model.", tensors))
    job.optimizer.load_state_dict({"state": _optimizer_state(job, tensors, state), **_groups(job.optimizer)})
    job.schedule.restore(state["schedule"])
    job.scaler.load_state_dict(state["scaler"])
    job.position = Position(**state["position"])
    sums = tensors["losses"], tensors["sums.hits"], tensors.get("skipped")
    job.tally.restore(*sums, job.position.batch)
    # Where only the evaluation of an epoch is left, its event reports the rate of the last step.
    set_learning_rate(job, max(0, job.position.step - 1))
    if job.lookahead:
        job.lookahead.restore(_without_prefix("lookahead.", tensors))
    device = job.plan.device
    job.resumed_mid_epoch = job.position.batch > 0
    torch.set_rng_state(tensors[_of_rank("random.cpu", job.ranks.rank)])
    if device.type == "cuda" and (of_cuda := _of_rank("random.cuda", job.ranks.rank)) in tensors:
        torch.cuda.set_rng_state(tensors[of_cuda], device)


def _of_rank(name: str, rank: int) -> str:
    """The name of a rank's own tensor in a checkpoint; the leader's has no number."""
    return f"{name}.{rank}" if rank else name


def _without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer_state(job: TrainingJob, tensors: dict[str, Tensor], state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    parameters = [parameter for group in job.optimizer.param_groups for parameter in group["params"]]
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            found.setdefault(int(index), {})[name] = _in_layout_of(parameters[int(index)], value)
    for key, value in state["optimizer_scalars"].items():
        index, name = key.split(".", 1)
        found.setdefault(int(index), {})[name] = value
    return found


def _in_layout_of(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """The value in the memory format of the parameter, which checkpoints do not keep."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def _groups(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"param_groups": optimizer.state_dict()["param_groups"]}
