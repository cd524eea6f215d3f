"""The training loop: `train` reads from top to bottom, `train_step` and `evaluate_step` own the torch contexts.

A generator never yields inside a torch context: the mode would leak into whoever iterates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.control import CommandName, Inbox
from core.data.batches import Batches
from core.data.index_plan import derive_seed, epoch_plan
from core.device import Sampler
from core.events import (
    CommandApplied,
    DeviceSampled,
    EpochCompleted,
    EvaluationCompleted,
    RunEvent,
    StepCompleted,
)
from core.job import Job, Predictions, Sums, new_sums
from core.plan import steps_per_epoch

Clock = Callable[[], float]
Outcome = tuple[Literal["completed", "stopped"], str]
SAMPLE_DEVICE_EVERY = 1.0


class StopRequested(Exception):
    """Control asked for a stop; carries the reason. It never leaves this module."""


@dataclass(slots=True)
class Watch:
    """When an event is due, and what control asks for."""

    control: Inbox
    clock: Clock
    sample_every: float
    sampler: Sampler
    last_step: float = 0.0
    last_sample: float = 0.0
    held: float = 0.0
    stop_after_epoch: str | None = None

    def now(self) -> float:
        """Seconds on the clock, without those spent paused."""
        return self.clock() - self.held

    def step_due(self) -> bool:
        """True when `sample_every` has passed since it last was."""
        now = self.clock()
        if now - self.last_step < self.sample_every:
            return False
        self.last_step = now
        return True

    def sample(self, step: int) -> Iterator[DeviceSampled]:
        """The device's figures, when the last are old."""
        now = self.clock()
        if now - self.last_sample >= SAMPLE_DEVICE_EVERY:
            self.last_sample = now
            yield self.sampler(step)

    def commands(self, step: int) -> Iterator[RunEvent]:
        """Apply what waits in control; raises StopRequested for a stop, and holds here while paused."""
        paused = False
        while (command := self.control.take()) or paused:
            if command is None:
                before = self.clock()
                self.control.wait(0.2)
                self.held += self.clock() - before
                continue
            name, reason = command
            yield CommandApplied(command=name, reason=reason, step=step)
            paused = self._apply(name, reason, paused)

    def _apply(self, name: CommandName, reason: str, paused: bool) -> bool:
        match name:
            case "stop":
                raise StopRequested(reason or "stop was asked for")
            case "stop-after-epoch":
                self.stop_after_epoch = reason or "stop after the epoch was asked for"
            case "pause":
                return True
            case "unpause":
                return False
            case "checkpoint":
                pass
        return paused


def train(job: Job, watch: Watch) -> Generator[RunEvent, None, Outcome]:
    """Train until the last epoch, an early stop or a stop by control; the outcome and its reason are returned."""
    training = job.plan.config.training
    try:
        while job.position.epoch <= training.epochs:
            yield from _train_epoch(job, watch)
            yield from _evaluate_epoch(job, watch)
            if training.patience and job.position.bad_epochs >= training.patience:
                return "completed", f"no better {training.patience_metric} for {training.patience} epochs"
            if watch.stop_after_epoch and job.position.epoch <= training.epochs:
                return "stopped", watch.stop_after_epoch
    except StopRequested as request:
        return "stopped", str(request)
    return "completed", f"all {training.epochs} epochs are done"


def _train_epoch(job: Job, watch: Watch) -> Iterator[RunEvent]:
    config, position = job.plan.config, job.position
    training, data = config.training, config.data
    job.model.train()
    if not job.resumed_mid_epoch:
        _begin_epoch(job)
    job.resumed_mid_epoch = False
    plan = epoch_plan(len(job.train_batches), training.seed, position.epoch, data.crop_padding, data.flip)
    started, begun_at, seen_before = watch.now(), position.epoch_seconds, job.sums.images
    for images, labels in job.train_batches.train(plan, training.batch_size, position.batch):
        lr = _set_learning_rate(job)
        loss = train_step(job, images, labels)
        job.losses[position.batch] = loss
        position.batch += 1
        position.step += 1
        position.epoch_seconds = begun_at + watch.now() - started
        logged = bool(training.log_interval) and position.step % training.log_interval == 0
        if watch.step_due() or logged or position.batch == job.steps:
            speed = (job.sums.images - seen_before) / max(1e-9, position.epoch_seconds - begun_at)
            yield _step_event(job, loss, lr, speed, logged)
            yield from watch.sample(position.step)
        yield from watch.commands(position.step)


def _begin_epoch(job: Job) -> None:
    """Fresh sums, and random state that depends on the seed and the epoch alone."""
    position, seed = job.position, job.plan.config.training.seed
    torch.manual_seed(derive_seed(seed, "epoch", position.epoch))
    position.batch, position.epoch_seconds = 0, 0.0
    job.sums = new_sums(job.plan.device)
    job.losses.zero_()


def train_step(job: Job, images: Tensor, labels: Tensor) -> Tensor:
    """One optimizer step on a batch [B, C, H, W] with labels [B]; the batch's mean loss, still on the device."""
    training = job.plan.config.training
    job.optimizer.zero_grad(set_to_none=True)
    parts = training.accumulation
    losses: list[Tensor] = []
    for part, truth in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        with autocast(job):
            logits = job.forward(part)
            loss = functional.cross_entropy(logits, truth, label_smoothing=training.label_smoothing)
        share = len(part) / len(images)
        job.scaler.scale(loss * share if share < 1 else loss).backward()
        losses.append(loss.detach().float() * share)
        job.sums.hits += (logits.detach().argmax(1) == truth).sum()
    if training.gradient_clipping:
        job.scaler.unscale_(job.optimizer)
        nn.utils.clip_grad_norm_(job.model.parameters(), training.gradient_clipping)
    job.scaler.step(job.optimizer)
    job.scaler.update()
    mean = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
    job.sums.loss += mean * len(images)
    job.sums.images += len(images)
    return mean


def autocast(job: Job) -> torch.autocast:
    """Autocast to the plan's half precision; off for fp32."""
    precision = job.plan.config.training.precision
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    kind = job.plan.device.type
    return torch.autocast(kind, dtype=dtype if precision != "fp32" else torch.bfloat16, enabled=precision != "fp32")


def _set_learning_rate(job: Job) -> float:
    lr = job.plan.config.optimizer.lr * job.schedule.at(job.position.step)
    for group in job.optimizer.param_groups:
        group["lr"] = lr
    return lr


def _step_event(job: Job, loss: Tensor, lr: float, speed: float, logged: bool) -> StepCompleted:
    """The event of the step just done; its figures leave the device here because it is due."""
    position, sums = job.position, job.sums
    interval = None
    if logged:
        first = max(0, position.batch - job.plan.config.training.log_interval)
        interval = float(job.losses[first : position.batch].mean())
    return StepCompleted(
        phase="train",
        epoch=position.epoch,
        step=position.step,
        batch=position.batch,
        batches=job.steps,
        loss=float(loss),
        mean_loss=float(sums.loss) / sums.images,
        accuracy=float(sums.hits) / sums.images,
        lr=lr,
        images_per_second=speed,
        interval_loss=interval,
    )


def _evaluate_epoch(job: Job, watch: Watch) -> Iterator[RunEvent]:
    """Evaluate, settle whether this epoch is the best, and tell of it."""
    position, training = job.position, job.plan.config.training
    started = watch.now()
    seen = job.sums
    metrics = {"train/loss": float(seen.loss) / seen.images, "train/accuracy": float(seen.hits) / seen.images}
    if job.validation_batches:
        yield from _evaluate(job, watch, job.validation_batches, "validation", metrics, None)
    confusion = torch.zeros((job.plan.facts.spec.classes,) * 2, dtype=torch.int64, device=job.plan.device)
    predictions = yield from _evaluate(job, watch, job.test_batches, "test", metrics, confusion)
    best = _settle_best(job, metrics)
    if best:
        job.predictions = predictions
    evaluate_seconds = watch.now() - started
    position.train_seconds += position.epoch_seconds
    lr = float(job.optimizer.param_groups[0]["lr"])
    epoch = position.epoch
    event = EpochCompleted(
        epoch=epoch,
        step=position.step,
        metrics=metrics,
        lr=lr,
        images_per_second=seen.images / max(1e-9, position.epoch_seconds),
        train_seconds=position.epoch_seconds,
        seconds=position.epoch_seconds + evaluate_seconds,
        best=best,
        step_losses=job.losses.cpu().numpy().astype("<f4").tobytes(),
    )
    if best or epoch == training.epochs or position.bad_epochs >= training.patience > 0:
        rows = tuple(tuple(row) for row in confusion.tolist())
        yield EvaluationCompleted(epoch=epoch, step=position.step, confusion=rows)
    position.epoch, position.batch = epoch + 1, 0
    yield event


def _settle_best(job: Job, metrics: dict[str, float]) -> bool:
    """Tell the schedule the watched figure; True when no earlier epoch had a better one."""
    position, training = job.position, job.plan.config.training
    split = "validation" if job.validation_batches else "test"
    value = metrics[f"{split}/{training.patience_metric}"]
    figure = value if training.patience_metric == "accuracy" else -value
    job.schedule.epoch_ended(figure)
    if position.best_figure is not None and not figure > position.best_figure:
        position.bad_epochs += 1
        return False
    position.best_figure, position.best_epoch, position.bad_epochs = figure, position.epoch, 0
    return True


def _evaluate(
    job: Job, watch: Watch, batches: Batches, split: str, metrics: dict[str, float], confusion: Tensor | None
) -> Generator[RunEvent, None, Predictions]:
    """Evaluate one split: its mean loss and accuracy go into `metrics`, its counts into `confusion` [K, K]."""
    position, size = job.position, job.plan.config.training.evaluation_batch_size
    assert isinstance(size, int)
    job.model.eval()
    sums, started = new_sums(job.plan.device), watch.now()
    count = steps_per_epoch(len(batches), size)
    kept: list[Predictions] = []
    for number, (images, labels) in enumerate(batches.evaluate(size), start=1):
        loss, top = evaluate_step(job, images, labels, sums)
        if confusion is not None:
            pairs = labels * len(confusion) + top.classes[:, 0]
            confusion += torch.bincount(pairs, minlength=confusion.numel()).view_as(confusion)
            kept.append(top)
        if watch.step_due() or number == count:
            yield StepCompleted(
                phase="evaluate",
                epoch=position.epoch,
                step=position.step,
                batch=number,
                batches=count,
                loss=float(loss),
                mean_loss=float(sums.loss) / sums.images,
                accuracy=float(sums.hits) / sums.images,
                lr=float(job.optimizer.param_groups[0]["lr"]),
                images_per_second=sums.images / max(1e-9, watch.now() - started),
            )
            yield from watch.sample(position.step)
        yield from watch.commands(position.step)
    metrics[f"{split}/loss"] = float(sums.loss) / sums.images
    metrics[f"{split}/accuracy"] = float(sums.hits) / sums.images
    return _joined(kept)


def evaluate_step(job: Job, images: Tensor, labels: Tensor, sums: Sums) -> tuple[Tensor, Predictions]:
    """The mean loss of a batch without smoothing, and its likeliest classes; `sums` grow by it."""
    with torch.no_grad(), autocast(job):
        logits = job.forward(images).float()
        loss = functional.cross_entropy(logits, labels)
        probabilities, classes = logits.softmax(1).topk(min(3, logits.shape[1]), dim=1)
    sums.loss += loss * len(images)
    sums.hits += (classes[:, 0] == labels).sum()
    sums.images += len(images)
    return loss, Predictions(classes, probabilities, labels)


def _joined(parts: list[Predictions]) -> Predictions:
    if not parts:
        return Predictions(torch.empty(0, 3), torch.empty(0, 3), torch.empty(0))
    return Predictions(
        torch.cat([part.classes for part in parts]),
        torch.cat([part.probabilities for part in parts]),
        torch.cat([part.labels for part in parts]),
    )
