"""The training loop: `train` yields events; the training step and `evaluate_step` enter the torch contexts.

A generator must never yield inside a torch context: the mode would leak into the code that iterates.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..data.batches import Batches
from ..data.index_plan import derive_seed
from ..events import EpochCompleted, EvaluationCompleted, RunEvent, StepCompleted, WarningRaised
from .divergence import check_figures, check_losses, check_scaler, check_tensors
from .host_copy import on_host
from .inference import Predictions, joined_over_ranks, no_predictions, predict
from .metrics import Figures, Tally
from .pacing import Pacer, StopRequested
from .state import TrainingJob, evaluation_tally, set_learning_rate, start_training_mode, state_of
from .step import EagerSteps, autocast
from .step_graph import open_steps

Outcome = tuple[Literal["completed", "stopped"], str]


def train(job: TrainingJob, pacer: Pacer) -> Generator[RunEvent, None, Outcome]:
    """Train until the last epoch, an early stop or a stop command; returns the outcome and its reason.

    Raises:
        DivergedError: a loss, metric, weight or buffer is no longer finite.
    """
    steps = open_steps(job)
    try:
        while not (reason := _finished(job)):
            if pacer.stop_after_epoch:
                return "stopped", pacer.stop_after_epoch
            yield from _train_epoch(job, pacer, steps)
            yield from _evaluate_epoch(job, pacer)
    except StopRequested as request:
        return "stopped", str(request)
    return "completed", reason


def _finished(job: TrainingJob) -> str:
    """Why training is finished, between two epochs or in a run resumed there; "" while it is not."""
    training, position = job.plan.config.training, job.position
    if position.batch:
        return ""
    if training.target_accuracy and position.reached_target:
        return f"{100 * training.target_accuracy:g} % accuracy is reached"
    if training.patience and position.bad_epochs >= training.patience:
        return f"no better {training.patience_metric} for {training.patience} epochs"
    return "all epochs are done" if position.epoch > training.epochs else ""


def _train_epoch(job: TrainingJob, pacer: Pacer, steps: EagerSteps) -> Iterator[RunEvent]:
    training, position = job.plan.config.training, job.position
    if start_training_mode(job):
        steps.restart()
    if not job.resumed_mid_epoch:
        _begin_epoch(job)
    job.resumed_mid_epoch = False
    plan = job.take_plan(position.epoch)
    started, seconds_before, seen_before = pacer.now(), position.epoch_seconds, job.tally.images
    for step in steps.of_epoch(plan, position.batch):
        lr = set_learning_rate(job, position.step)
        step()
        while steps.warnings:
            yield WarningRaised(message=steps.warnings.pop())
        position.batch += 1
        position.step += 1
        if job.lookahead:
            job.lookahead.stepped(position.step)
        logged = bool(training.log_interval) and position.step % training.log_interval == 0
        last = position.batch == job.steps
        if last and position.epoch < training.epochs and job.plan.device.type == "cuda":
            # While the device executes the steps that are queued.
            job.draw_plan(position.epoch + 1)
        due = pacer.step_due() or logged or last
        figures = _figures(job) if due else None
        # With the figures here, everything queued on the device is done.
        position.epoch_seconds = seconds_before + pacer.now() - started
        if figures:
            speed = (job.tally.images - seen_before) / max(1e-9, position.epoch_seconds - seconds_before)
            yield _step_event(job, figures, lr, speed, logged)
            check_losses(job.tally, figures.mean_loss, position.step)
            check_scaler(figures.more, position.step)
            yield from pacer.sample(position)
        yield from pacer.commands(position.step)


def _begin_epoch(job: TrainingJob) -> None:
    """Reset the tally, and seed the random state from the seed, the epoch and the rank alone."""
    position, seed = job.position, job.plan.config.training.seed
    purpose = f"epoch of rank {job.ranks.rank}" if job.ranks.rank else "epoch"
    torch.manual_seed(derive_seed(seed, purpose, position.epoch))
    position.batch, position.epoch_seconds = 0, 0.0
    job.tally.clear()


def _figures(job: TrainingJob) -> Figures:
    """The figures of the epoch so far, of all ranks, and the scaler's health; this synchronises the device."""
    job.tally.combine(job.ranks)
    return job.tally.figures(max(1, job.plan.config.training.log_interval), *job.scaler.health(job.tally))


def _step_event(job: TrainingJob, figures: Figures, lr: float, speed: float, logged: bool) -> StepCompleted:
    """The event of the last step."""
    position = job.position
    return StepCompleted(
        phase="train",
        epoch=position.epoch,
        step=position.step,
        batch=position.batch,
        batches=job.steps,
        loss=figures.loss,
        mean_loss=figures.mean_loss,
        accuracy=figures.accuracy,
        lr=lr,
        images_per_second=speed,
        interval_loss=figures.recent_loss if logged else None,
    )


def _evaluate_epoch(job: TrainingJob, pacer: Pacer) -> Iterator[RunEvent]:
    """Evaluate, decide whether this epoch is the best so far, and yield its events."""
    position, training = job.position, job.plan.config.training
    started = pacer.now()
    seen = job.tally
    seen.combine(job.ranks)
    job.ranks.broadcast_buffers(job.model)
    figures = seen.figures()
    metrics = {"train/loss": figures.mean_loss, "train/accuracy": figures.accuracy}
    if job.validation_batches:
        yield from _evaluate(job, pacer, job.validation_batches, "validation", metrics, None)
    confusion = torch.zeros((job.plan.facts.spec.classes,) * 2, dtype=torch.int64, device=job.plan.device)
    predictions = yield from _evaluate(job, pacer, job.test_batches, "test", metrics, confusion)
    # Different machines may round differently, but all ranks must decide alike.
    metrics = job.ranks.broadcast(metrics)
    check_figures(metrics, position.step)
    check_tensors(state_of(job)[0], position.step)
    best = _update_best(job, metrics)
    if best:
        job.predictions = predictions
    losses, skipped, counts = on_host([seen.losses, seen.skipped, confusion])
    evaluate_seconds = pacer.now() - started
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
        skipped_steps=int(skipped.sum()) if job.scaler.is_enabled() else 0,
        step_losses=losses.numpy().astype("<f4").tobytes(),
    )
    last = epoch == training.epochs or position.bad_epochs >= training.patience > 0 or position.reached_target
    if best or last:
        rows = tuple(tuple(row) for row in counts.tolist())
        yield EvaluationCompleted(epoch=epoch, step=position.step, confusion=rows)
    position.epoch, position.batch = epoch + 1, 0
    position.energy = None if position.energy is None else 0.0
    yield event


def _last_learning_rate(job: TrainingJob) -> float:
    """The learning rate of the last step, which a plateau schedule at the epoch's end does not change."""
    return job.plan.config.optimizer.lr * job.applied_lr / float(job.optimizer.param_groups[0]["initial_lr"])


def _update_best(job: TrainingJob, metrics: dict[str, float]) -> bool:
    """Pass the watched metric to the schedule; returns whether this epoch is the best so far."""
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
    job: TrainingJob, pacer: Pacer, batches: Batches, split: str, metrics: dict[str, float], confusion: Tensor | None
) -> Generator[RunEvent, None, Predictions | None]:
    """Evaluate one split: adds its mean loss and accuracy to `metrics`, its counts to `confusion` [K, K]."""
    position, size = job.position, job.plan.config.training.evaluation_batch_size
    assert isinstance(size, int)
    job.model.eval()
    tally, started = evaluation_tally(job.plan, len(batches), job.ranks), pacer.now()
    count = len(tally.losses)
    # A rank without images of a small split takes part with empty predictions.
    kept = [] if confusion is None else [no_predictions(len(confusion), confusion.device)]
    for number, (images, labels) in enumerate(batches.evaluate(size), start=1):
        if not len(images):
            tally.skip_step()
        elif confusion is None:
            evaluate_step(job, images, labels, tally)
        else:
            top = evaluate_step(job, images, labels, tally)
            pairs = labels * len(confusion) + top.classes[:, 0]
            # Not bincount, which on CUDA synchronises to find the largest value.
            confusion.view(-1).index_add_(0, pairs, torch.ones_like(pairs))
            kept.append(top)
        if pacer.step_due() or number == count:
            tally.combine(job.ranks)
            figures = tally.figures()
            metrics.update({f"{split}/loss": figures.mean_loss, f"{split}/accuracy": figures.accuracy})
            yield StepCompleted(
                phase="evaluate",
                epoch=position.epoch,
                step=position.step,
                batch=number,
                batches=count,
                loss=figures.loss,
                mean_loss=figures.mean_loss,
                accuracy=figures.accuracy,
                lr=_last_learning_rate(job),
                images_per_second=tally.images / max(1e-9, pacer.now() - started),
            )
            yield from pacer.sample(position)
        yield from pacer.commands(position.step)
    if confusion is not None:
        job.ranks.sum_in_place(confusion)
    return joined_over_ranks(kept, job.ranks, len(batches), size)


def evaluate_step(job: TrainingJob, images: Tensor, labels: Tensor, tally: Tally) -> Predictions:
    """Predict the top classes of a batch, and add its mean loss, without label smoothing, to the tally."""
    with torch.no_grad(), autocast(job):
        logits = predict(job.forward, images, job.plan.config.training)
        loss = functional.cross_entropy(logits, labels)
        probabilities, classes = logits.softmax(1).topk(min(3, logits.shape[1]), dim=1)
    tally.add(loss, logits, labels)
    return Predictions(classes, probabilities, labels)
