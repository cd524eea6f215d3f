"""Detect divergence: losses, metrics, weights or buffers that are not finite, or a gradient scaler that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import DivergedError
from .metrics import Tally

MAX_SKIPPED_STEPS = 10
"""Steps in a row that a gradient scaler may skip."""
MIN_SCALE = 1.0
MAX_ROLL_BACKS = 3
HINT = "lower optimizer.lr, or clip gradients with training.gradient_clipping"


class CountedScaler(torch.amp.GradScaler):
    """A gradient scaler that reports whether it skipped a step."""

    def skipped(self, optimizer: torch.optim.Optimizer) -> Tensor | None:
        """Whether the last step was skipped (above 0), still on the device; None where the scaler is disabled."""
        if not self.is_enabled():
            return None
        (found,) = self._found_inf_per_device(optimizer).values()
        return found

    def abandon_step(self) -> None:
        """Forget a step that was started and will not be finished."""
        self._per_optimizer_states.clear()

    def health(self, tally: Tally) -> tuple[Tensor, ...]:
        """The values for `check_scaler`, still on the device; empty where the scaler is disabled."""
        if not self.is_enabled() or self._scale is None:
            return ()
        tally.flush()
        return tally.skipped[max(0, tally.steps - MAX_SKIPPED_STEPS) : tally.steps].sum(), self._scale


def is_finite(value: float) -> bool:
    """Whether a value is finite; faster than math.isfinite on a tensor's item."""
    return value - value == 0


def check_losses(tally: Tally, mean_loss: float, step: int) -> None:
    """Check the losses of an epoch's steps up to `step`, given their mean.

    Raises:
        DivergedError: a loss is not finite; the message names the first such step.
    """
    if not is_finite(mean_loss):
        # The run stops or rolls back, so that copying the losses from the device does not matter.
        wrong = (~tally.losses[: tally.steps].isfinite()).nonzero()
        first = step - tally.steps + 1 + int(wrong[0])
        raise DivergedError(f"diverged at step {first}: the loss is not finite", HINT)


def check_scaler(health: Sequence[float], step: int) -> None:
    """Check the values of a gradient scaler's `health`.

    Raises:
        DivergedError: too many steps in a row were skipped, or the scale is below `MIN_SCALE`.
    """
    if not health:
        return
    skipped, scale = health
    if skipped >= MAX_SKIPPED_STEPS:
        message = f"the gradients of {MAX_SKIPPED_STEPS} steps in a row are not finite"
        raise DivergedError(f"diverged at step {step - MAX_SKIPPED_STEPS + 1}: {message}", HINT)
    if scale < MIN_SCALE:
        raise DivergedError(f"diverged at step {step}: the gradients overflow at every scale of half precision", HINT)


def check_figures(metrics: Mapping[str, float], step: int) -> None:
    """Check the metrics of an epoch.

    Raises:
        DivergedError: one of them is not finite.
    """
    for name, value in metrics.items():
        if not is_finite(value):
            raise DivergedError(f"diverged at step {step}: {name} is not finite", HINT)


def check_tensors(tensors: Mapping[str, Tensor], step: int) -> None:
    """Check all weights and buffers, with one synchronisation of the device.

    Raises:
        DivergedError: one contains a value that is not finite; the message names it.
    """
    floating = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if bool(nn.utils.get_total_norm(floating.values(), float("inf")).isfinite()):
        return
    wrong = next(name for name, value in floating.items() if not bool(value.isfinite().all()))
    raise DivergedError(f"diverged at step {step}: {wrong} contains a value that is not finite", HINT)
