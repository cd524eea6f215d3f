"""Muon: momentum whose update is orthogonalised, for filters and hidden matrices; the rest by SGD.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Filters of one shape are orthogonalised
together, as one batch of matrices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic Newton-Schulz iteration, which brings all singular values near 1."""


def orthogonalized(matrices: Tensor, iterations: int, *, half: bool) -> Tensor:
    """Matrices [N, R, C] with their singular values brought near 1, by Newton-Schulz iterations; `half` in bfloat16.

    The iterations tolerate coarse rounding, but a CPU without bfloat16 instructions takes twenty times as long with it.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if half else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(Optimizer):
    """Groups with `orthogonal` are updated by Muon, the others by SGD; both with Nesterov momentum.

    Weight decay is decoupled: at the full learning rate each step subtracts the share `weight_decay` of the weights.
    Groups have `half` set where the run computes in half precision.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": 0.0, "weight_decay": 0.0, "orthogonal": False, "half": False})
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One optimizer step."""
        assert closure is None, "a closure is not supported"
        for group in self.param_groups:
            ready = [parameter for parameter in group["params"] if parameter.grad is not None]
            updates = [self._momentum(parameter, group["momentum"]) for parameter in ready]
            kept = 1 - group["weight_decay"] * group["lr"] / group["initial_lr"]
            for parameter in ready:
                parameter.mul_(kept)
            if group["orthogonal"]:
                _update_filters(ready, updates, group)
            else:
                for parameter, update in zip(ready, updates, strict=True):
                    parameter.add_(update, alpha=-group["lr"])

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient with Nesterov momentum."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer: Tensor = state["momentum_buffer"]
        buffer.mul_(momentum).add_(gradient)
        return gradient.add(buffer, alpha=momentum)


def _update_filters(parameters: list[nn.Parameter], updates: list[Tensor], group: dict[str, Any]) -> None:
    """Apply the orthogonalised updates; filters of one shape are orthogonalised as one batch."""
    alike: dict[torch.Size, list[int]] = defaultdict(list)
    for index, update in enumerate(updates):
        alike[update.shape].append(index)
    for indices in alike.values():
        stacked = torch.stack([updates[index].flatten(1) for index in indices])
        directions = orthogonalized(stacked, group["iterations"], half=group["half"])
        for index, direction in zip(indices, directions, strict=True):
            weights = parameters[index]
            if group["normalize"]:
                # The norm of the weights only rescales the step, because batch norm follows.
                weights.mul_(len(weights) ** 0.5 / weights.norm())
            weights.add_(direction.view_as(weights), alpha=-group["lr"])
