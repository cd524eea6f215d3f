"""The training loop: `train` reads from top to bottom, `train_step` and `evaluate_step` own the torch contexts.

A generator never yields inside a torch context: the mode would leak into whoever iterates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.control import CommandName, Inbox
from core.data.batches import Batches
from core.data.index_plan import derive_seed, epoch_plan
from core.device import Sampler
from core.divergence import check_figures, check_losses, check_scaler, check_tensors
from core.events import (
    CommandApplied,
    DeviceSampled,
    EpochCompleted,
    EvaluationCompleted,
    RunEvent,
    StepCompleted,
    WarningRaised,
)
from core.job import Job, Position, Predictions, new_tally, set_learning_rate, state_of
from core.prediction import predict
from core.tally import Tally

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
    stood_still: Callable[[], float] = lambda: 0.0
    """Seconds that the process was suspended since this was last asked."""
    last_step: float = 0.0
    last_sample: float | None = None
    held: float = 0.0
    paused: bool = False
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

    def sample(self, position: Position) -> Iterator[DeviceSampled]:
        """The device's figures, when the last are old; the energy since then goes to the position."""
        now = self.clock()
        passed = 0.0 if self.last_sample is None else now - self.last_sample
        if self.last_sample is not None and passed < SAMPLE_DEVICE_EVERY:
            return
        sampled = self.sampler(position.step)
        if sampled.power is not None:
            position.energy = (position.energy or 0.0) + sampled.power * passed
        self.last_sample = now
        yield sampled

    def commands(self, step: int) -> Iterator[RunEvent]:
        """Apply what waits in control; raises StopRequested for a stop, and holds here while paused."""
        if gap := self.stood_still():
            self.held += gap
            yield WarningRaised(message=f"the process was suspended for {gap:.0f} s")
        while (command := self.control.take()) or self.paused:
            if command is None:
                before = self.clock()
                self.control.wait(0.2)
                self.held += self.clock() - before
                continue
            name, reason = command
            yield CommandApplied(command=name, reason=reason, step=step)
            self._apply(name, reason)

    def _apply(self, name: CommandName, reason: str) -> None:
        match name:
            case "stop":
                raise StopRequested(reason or "stop was asked for")
            case "stop-after-epoch":
                self.stop_after_epoch = reason or "stop after the epoch was asked for"
            case "pause" | "unpause":
                self.paused = name == "pause"
            case "checkpoint" | "hand-over":
                pass  # what saves the run hears of it by the event


def train(job: Job, watch: Watch) -> Generator[RunEvent, None, Outcome]:
    """Train until the last epoch, an early stop or a stop by control; the outcome and its reason are returned.

    Raises:
        DivergedError: numbers are no longer finite.
    """
    try:
        while not (reason := _finished(job)):
            if watch.stop_after_epoch:
                return "stopped", watch.stop_after_epoch
            yield from _train_epoch(job, watch)
            yield from _evaluate_epoch(job, watch)
    except StopRequested as request:
        return "stopped", str(request)
    return "completed", reason


def _finished(job: Job) -> str:
    """Why nothing is left to do between two epochs, also for a run resumed there; empty while something is."""
    training, position = job.plan.config.training, job.position
    if position.batch:
        return ""
    if training.target_accuracy and position.reached_target:
        return f"{100 * training.target_accuracy:g} % accuracy is reached"
    if training.patience and position.bad_epochs >= training.patience:
        return f"no better {training.patience_metric} for {training.patience} epochs"
    return f"all {training.epochs} epochs are done" if position.epoch > training.epochs else ""


def _train_epoch(job: Job, watch: Watch) -> Iterator[RunEvent]:
    config, position = job.plan.config, job.position
    training = config.training
    job.model.train()
    if not job.resumed_mid_epoch:
        _begin_epoch(job)
    job.resumed_mid_epoch = False
    plan = epoch_plan(len(job.train_batches), training.seed, position.epoch, config.data)
    started, begun_at, seen_before = watch.now(), position.epoch_seconds, job.tally.images
    for images, labels in job.train_batches.train(plan, training.batch_size, position.batch):
        lr = set_learning_rate(job, position.step)
        train_step(job, images, labels)
        position.batch += 1
        position.step += 1
        if job.lookahead:
            job.lookahead.stepped(position.step)
        position.epoch_seconds = begun_at + watch.now() - started
        logged = bool(training.log_interval) and position.step % training.log_interval == 0
        if watch.step_due() or logged or position.batch == job.steps:
            speed = (job.tally.images - seen_before) / max(1e-9, position.epoch_seconds - begun_at)
            told = _step_event(job, lr, speed, logged)
            yield told
            check_losses(job.tally, told.mean_loss, position.step)
            check_scaler(job.tally, job.scaler, position.step)
            yield from watch.sample(position)
        yield from watch.commands(position.step)


def _begin_epoch(job: Job) -> None:
    """A fresh count, and random state that depends on the seed and the epoch alone."""
    position, seed = job.position, job.plan.config.training.seed
    torch.manual_seed(derive_seed(seed, "epoch", position.epoch))
    position.batch, position.epoch_seconds = 0, 0.0
    job.tally = new_tally(job.plan, len(job.train_batches), job.plan.config.training.batch_size)


def train_step(job: Job, images: Tensor, labels: Tensor) -> Tensor:
    """One optimizer step on a batch [B, C, H, W] with labels [B]; the batch's mean loss, still on the device."""
    training = job.plan.config.training
    job.optimizer.zero_grad(set_to_none=True)
    if training.accumulation == 1:
        loss, logits = _backward(job, images, labels, 1.0)
    else:
        parts = zip(images.chunk(training.accumulation), labels.chunk(training.accumulation), strict=True)
        done = [_backward(job, part, truth, len(part) / len(images)) for part, truth in parts]
        loss, logits = torch.stack([share for share, _ in done]).sum(), torch.cat([part for _, part in done])
    if training.gradient_clipping:
        job.scaler.unscale_(job.optimizer)
        nn.utils.clip_grad_norm_(job.model.parameters(), training.gradient_clipping)
    job.scaler.step(job.optimizer)
    skipped = job.scaler.skipped(job.optimizer)
    job.scaler.update()
    job.tally.add(loss, logits, labels, skipped)
    return loss


def _backward(job: Job, images: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Add the gradients of a part of a batch, `share` of it; its share of the mean loss, and its logits."""
    with autocast(job):
        logits = job.forward(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=job.plan.config.training.label_smoothing)
    if share < 1:
        loss = loss * share
    job.scaler.scale(loss).backward()
    return loss.detach().float(), logits.detach()


def autocast(job: Job) -> AbstractContextManager[object]:
    """Autocast to the plan's half precision; nothing for fp32."""
    precision = job.plan.config.training.precision
    if precision == "fp32":
        return _AS_IT_IS
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(job.plan.device.type, dtype=dtype)


_AS_IT_IS = nullcontext()


def _step_event(job: Job, lr: float, speed: float, logged: bool) -> StepCompleted:
    """The event of the step just done; its figures leave the device here because it is due."""
    position, tally = job.position, job.tally
    return StepCompleted(
        phase="train",
        epoch=position.epoch,
        step=position.step,
        batch=position.batch,
        batches=job.steps,
        loss=tally.last_loss(),
        mean_loss=tally.mean_loss(),
        accuracy=tally.accuracy(),
        lr=lr,
        images_per_second=speed,
        interval_loss=tally.recent_loss(job.plan.config.training.log_interval) if logged else None,
    )


def _evaluate_epoch(job: Job, watch: Watch) -> Iterator[RunEvent]:
    """Evaluate, settle whether this epoch is the best, and tell of it."""
    position, training = job.position, job.plan.config.training
    started = watch.now()
    seen = job.tally
    metrics = {"train/loss": seen.mean_loss(), "train/accuracy": seen.accuracy()}
    if job.validation_batches:
        yield from _evaluate(job, watch, job.validation_batches, "validation", metrics, None)
    confusion = torch.zeros((job.plan.facts.spec.classes,) * 2, dtype=torch.int64, device=job.plan.device)
    predictions = yield from _evaluate(job, watch, job.test_batches, "test", metrics, confusion)
    check_figures(metrics, position.step)
    check_tensors(state_of(job)[0], position.step)
    best = _settle_best(job, metrics)
    if best:
        job.predictions = predictions
    evaluate_seconds = watch.now() - started
    position.train_seconds += position.epoch_seconds
    epoch = position.epoch
    event = EpochCompleted(
        epoch=epoch,
        step=position.step,
        metrics=metrics,
        lr=_last_learning_rate(job),
        images_per_second=seen.images / max(1e-9, position.epoch_seconds),
        train_seconds=position.epoch_seconds,
        seconds=position.epoch_seconds + evaluate_seconds,
        best=best,
        energy=position.energy,
        skipped_steps=int(seen.skipped.sum()) if job.scaler.is_enabled() else 0,
        step_losses=seen.losses.cpu().numpy().astype("<f4").tobytes(),
    )
    last = epoch == training.epochs or position.bad_epochs >= training.patience > 0 or position.reached_target
    if best or last:
        rows = tuple(tuple(row) for row in confusion.tolist())
        yield EvaluationCompleted(epoch=epoch, step=position.step, confusion=rows)
    position.epoch, position.batch = epoch + 1, 0
    position.energy = None if position.energy is None else 0.0
    yield event


def _last_learning_rate(job: Job) -> float:
    """Of the step before, which a plateau at this epoch's end does not change."""
    group = job.optimizer.param_groups[0]
    return job.plan.config.optimizer.lr * float(group["lr"]) / float(group["initial_lr"])


def _settle_best(job: Job, metrics: dict[str, float]) -> bool:
    """Tell the schedule the watched figure; True when no earlier epoch had a better one."""
    position, training = job.position, job.plan.config.training
    split = "validation" if job.validation_batches else "test"
    value = metrics[f"{split}/{training.patience_metric}"]
    figure = value if training.patience_metric == "accuracy" else -value
    job.schedule.epoch_ended(figure)
    if metrics[f"{split}/accuracy"] >= training.target_accuracy > 0:
        position.reached_target = True
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
    tally, started = new_tally(job.plan, len(batches), size), watch.now()
    count = len(tally.losses)
    kept: list[Predictions] = []
    for number, (images, labels) in enumerate(batches.evaluate(size), start=1):
        top = evaluate_step(job, images, labels, tally)
        if confusion is not None:
            pairs = labels * len(confusion) + top.classes[:, 0]
            # Not bincount, which on CUDA waits for the largest value.
            confusion.view(-1).index_add_(0, pairs, torch.ones_like(pairs))
            kept.append(top)
        if watch.step_due() or number == count:
            yield StepCompleted(
                phase="evaluate",
                epoch=position.epoch,
                step=position.step,
                batch=number,
                batches=count,
                loss=tally.last_loss(),
                mean_loss=tally.mean_loss(),
                accuracy=tally.accuracy(),
                lr=_last_learning_rate(job),
                images_per_second=tally.images / max(1e-9, watch.now() - started),
            )
            yield from watch.sample(position)
        yield from watch.commands(position.step)
    metrics[f"{split}/loss"] = tally.mean_loss()
    metrics[f"{split}/accuracy"] = tally.accuracy()
    return _joined(kept)


def evaluate_step(job: Job, images: Tensor, labels: Tensor, tally: Tally) -> Predictions:
    """The likeliest classes of a batch; its mean loss, without smoothing, is counted."""
    with torch.no_grad(), autocast(job):
        logits = predict(job.forward, images, job.plan.config.training)
        loss = functional.cross_entropy(logits, labels)
        probabilities, classes = logits.softmax(1).topk(min(3, logits.shape[1]), dim=1)
    tally.add(loss, logits, labels)
    return Predictions(classes, probabilities, labels)


def _joined(parts: list[Predictions]) -> Predictions:
    if not parts:
        return Predictions(torch.empty(0, 3), torch.empty(0, 3), torch.empty(0))
    return Predictions(
        torch.cat([part.classes for part in parts]),
        torch.cat([part.probabilities for part in parts]),
        torch.cat([part.labels for part in parts]),
    )
