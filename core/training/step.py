"""The training step: forward and backward passes of a batch or of its parts, clipping, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data.index_plan import IndexPlan
from .state import TrainingJob


class EagerSteps:
    """The training steps of a job, each executed operation by operation."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self.warnings: list[str] = []
        """Sentences for the user; the reader removes them."""

    def restart(self) -> None:
        """Forget what was captured: from now on other parameters are trained."""

    def of_epoch(self, plan: IndexPlan, first_batch: int) -> Iterator[Callable[[], object]]:
        """The steps of an epoch from a batch on; each is to be called before the next is taken."""
        size = self._job.plan.config.training.batch_size
        for images, labels in self._job.train_batches.train(plan, size, first_batch):
            yield partial(train_step, self._job, images, labels)


def train_step(job: TrainingJob, images: Tensor, labels: Tensor) -> Tensor:
    """One optimizer step on a batch [B, C, H, W] with labels [B], tallied; returns its mean loss on the device."""
    loss, logits, skipped = optimizer_step(job, images, labels)
    job.tally.add(loss, logits, labels, skipped)
    return loss


def optimizer_step(job: TrainingJob, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """One optimizer step on a batch; returns its mean loss, its logits [B, K], and whether it was skipped (above 0).

    With several ranks each passes its part of the batch; the step is that of the whole batch.
    """
    training = job.plan.config.training
    _clear_gradients(job)
    if training.accumulation == 1 or not len(images):
        loss, logits = _backward(job, images, labels, 1.0)
    else:
        *parts, last = zip(images.chunk(training.accumulation), labels.chunk(training.accumulation), strict=True)
        with job.without_gradient_sync():
            done = [_backward(job, part, truth, len(part) / len(images)) for part, truth in parts]
        done.append(_backward(job, *last, len(last[0]) / len(images)))
        loss, logits = torch.stack([share for share, _ in done]).sum(), torch.cat([part for _, part in done])
    if training.gradient_clipping:
        job.scaler.unscale_(job.optimizer)
        # Norms of many tensors at once copy from the host, which a graph cannot.
        foreach = False if job.plan.captures_steps else None
        nn.utils.clip_grad_norm_(job.model.parameters(), training.gradient_clipping, foreach=foreach)
    job.scaler.step(job.optimizer)
    skipped = job.scaler.skipped(job.optimizer)
    job.scaler.update()
    return loss, logits, skipped


def _clear_gradients(job: TrainingJob) -> None:
    training = job.plan.config.training
    if not (training.compile and training.accumulation > 1):
        job.optimizer.zero_grad(set_to_none=True)
        return
    # The gradients of a captured graph are overwritten by its next replay: accumulate them in separate memory.
    for group in job.optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.zero_()


def _backward(job: TrainingJob, images: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Add the gradients of `share` of a batch; returns that share of the mean loss, and the logits."""
    with autocast(job):
        logits = job.forward(images)
        smoothing = job.plan.config.training.label_smoothing
        # The mean over no images is nan, while its gradients must be zero.
        loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing) if len(images) else logits.sum()
    if share < 1:
        loss = loss * share
    weight = job.weight(len(images) if share == 1 else round(len(images) / share))
    job.scaler.scale(loss if weight == 1 else loss * weight).backward()
    return loss.detach().float(), logits.detach()


def autocast(job: TrainingJob) -> AbstractContextManager[object]:
    """Autocast to the plan's half precision; a null context for fp32 and fp64."""
    precision = job.plan.config.training.precision
    if precision in ("fp32", "fp64"):
        return _AS_IT_IS
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(job.plan.device.type, dtype=dtype)


_AS_IT_IS = nullcontext()
