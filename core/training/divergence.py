"""Numbers that went wrong: losses, figures, weights or buffers that are not finite, a scaler that gave up."""

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
    """A gradient scaler that tells whether it skipped a step."""

    def skipped(self, optimizer: torch.optim.Optimizer) -> Tensor | None:
        """Whether the step just made was skipped, above 0 on its device; None where nothing is scaled."""
        if not self.is_enabled():
            return None
        (found,) = self._found_inf_per_device(optimizer).values()
        return found

    def health(self, tally: Tally) -> tuple[Tensor, ...]:
        """What `check_scaler` looks at, still on the device; nothing where nothing is scaled."""
        if not self.is_enabled() or self._scale is None:
            return ()
        tally.flush()
        return tally.skipped[max(0, tally.steps - MAX_SKIPPED_STEPS) : tally.steps].sum(), self._scale


def is_finite(value: float) -> bool:
    """Whether a figure is a number."""
    return value - value == 0


def check_losses(tally: Tally, mean_loss: float, step: int) -> None:
    """Look at the losses of an epoch's steps up to `step`, given their mean, which has left the device.

    Raises:
        DivergedError: it is not finite; the first such step is named.
    """
    if not is_finite(mean_loss):
        # The run ends here or goes back: the losses leave the device this once.
        wrong = (~tally.losses[: tally.steps].isfinite()).nonzero()
        first = step - tally.steps + 1 + int(wrong[0])
        raise DivergedError(f"diverged at step {first}: the loss is not finite", HINT)


def check_scaler(health: Sequence[float], step: int) -> None:
    """Look at what a gradient scaler's `health` came to.

    Raises:
        DivergedError: it skipped too many steps in a row, or shrank its scale to nothing.
    """
    if not health:
        return
    skipped, scale = health
    if skipped >= MAX_SKIPPED_STEPS:
        message = f"the gradients of {MAX_SKIPPED_STEPS} steps in a row are not finite"
        raise DivergedError(f"diverged at step {step - MAX_SKIPPED_STEPS + 1}: {message}", HINT)
    if scale < MIN_SCALE:
        raise DivergedError(f"diverged at step {step}: the gradients fit no scale of half precision", HINT)


def check_figures(metrics: Mapping[str, float], step: int) -> None:
    """Look at the figures of an epoch.

    Raises:
        DivergedError: one is not finite.
    """
    for name, value in metrics.items():
        if not is_finite(value):
            raise DivergedError(f"diverged at step {step}: {name} is not finite", HINT)


def check_tensors(tensors: Mapping[str, Tensor], step: int) -> None:
    """Look at every weight and buffer, with one wait for the device.

    Raises:
        DivergedError: one holds a value that is not finite; it is named.
    """
    floating = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if bool(nn.utils.get_total_norm(floating.values(), float("inf")).isfinite()):
        return
    wrong = next(name for name, value in floating.items() if not bool(value.isfinite().all()))
    raise DivergedError(f"diverged at step {step}: {wrong} holds a value that is not finite", HINT)
