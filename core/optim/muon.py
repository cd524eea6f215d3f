"""Muon: momentum whose update is orthogonalised, for filters and hidden matrices; the rest by SGD.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Filters are orthogonalised in batches of
matrices: on a CPU those of one shape, on a GPU, where each kernel costs the host time, also those of similar shapes.
"""

# pyright: reportPrivateImportUsage=false, reportPrivateUsage=false
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
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
    Groups have `half` set where the run computes in half precision. On a GPU the learning rate of a group is a tensor.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": 0.0, "weight_decay": 0.0, "orthogonal": False, "half": False})
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One optimizer step, by operations on many parameters at once."""
        assert closure is None, "a closure is not supported"
        groups = [(group, [each for each in group["params"] if each.grad is not None]) for group in self.param_groups]
        self._accumulate(groups)
        for group, ready in groups:
            if ready:
                self._update(ready, group)

    def _accumulate(self, groups: list[tuple[dict[str, Any], list[Tensor]]]) -> None:
        """Add the gradients to the momentum."""
        ready = [parameter for _, parameters in groups for parameter in parameters]
        for parameter in ready:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = self._buffers(ready)
        torch._foreach_mul_(buffers, [group["momentum"] for group, parameters in groups for _ in parameters])
        torch._foreach_add_(buffers, _gradients(ready))

    def _buffers(self, parameters: list[Tensor]) -> list[Tensor]:
        return [self.state[parameter]["momentum_buffer"] for parameter in parameters]

    def _update(self, ready: list[Tensor], group: dict[str, Any]) -> None:
        """Update a group by gradients with Nesterov momentum."""
        updates = list(torch._foreach_add(_gradients(ready), self._buffers(ready), alpha=group["momentum"]))
        (_update_on_cpu if ready[0].device.type == "cpu" else update_on_gpu)(ready, updates, group)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _update_on_cpu(parameters: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
    """Decay and update a group; filters of one shape are orthogonalised as one batch."""
    if group["weight_decay"]:
        torch._foreach_mul_(parameters, 1 - group["weight_decay"] * group["lr"] / group["initial_lr"])
    if not group["orthogonal"]:
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])
        return
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


def update_on_gpu(parameters: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
    """Decay and update a group with few kernels, which read the learning rate from a tensor."""
    # Filters that are normalised need no decay.
    if group["weight_decay"] and not group.get("normalize"):
        torch._foreach_mul_(parameters, torch.rsub(group["lr"], 1, alpha=group["weight_decay"] / group["initial_lr"]))
    if group["orthogonal"]:
        _update_padded_filters(parameters, updates, group)
    else:
        torch._foreach_mul_(updates, group["lr"])
        torch._foreach_sub_(parameters, updates)


def _update_padded_filters(parameters: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
    """Apply the orthogonalised updates; filters of similar shapes are padded to one batch of matrices.

    Zeros around a matrix change neither its norm nor the result of the iterations within it.
    """
    scales: list[Tensor] = []
    if group["normalize"]:
        # Not _foreach_norm, which copies from the host to the device.
        scales = list(torch._foreach_reciprocal([weights.norm() for weights in parameters]))
        torch._foreach_mul_(scales, [len(weights) ** 0.5 for weights in parameters])
    shapes = [(len(update), update[0].numel()) for update in updates]
    for indices in batches_of_similar(shapes):
        rows, columns = (max(sorted(shapes[index])[axis] for index in indices) for axis in (0, 1))
        dtype = torch.bfloat16 if group["half"] else updates[0].dtype
        batch = torch.zeros(len(indices), rows, columns, dtype=dtype, device=updates[0].device)
        for index, matrix in zip(indices, batch, strict=True):
            _filters_in(matrix, updates[index].shape).copy_(updates[index])
        directions = orthogonalized(batch, group["iterations"], half=group["half"]).to(parameters[0].dtype)
        for index, direction in zip(indices, directions.mul_(-group["lr"]), strict=True):
            weights, step = parameters[index], _filters_in(direction, parameters[index].shape)
            if scales:
                torch.addcmul(step, weights, scales[index], out=weights)
            else:
                weights.add_(step)


def _filters_in(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The part of a padded matrix that holds filters of a shape [O, ...]; tall ones are stored transposed."""
    rows, columns = shape[0], math.prod(shape[1:])
    part = matrix[:columns, :rows].mT if rows > columns else matrix[:rows, :columns]
    return part.unflatten(1, shape[1:])


def batches_of_similar(shapes: list[tuple[int, int]], limit: float = 2.0) -> list[list[int]]:
    """Indices of the matrices (rows, columns) of each batch; padding at most multiplies a batch's work by `limit`."""
    sizes = [sorted(shape) for shape in shapes]
    batches: list[list[int]] = []
    for index in sorted(range(len(shapes)), key=sizes.__getitem__, reverse=True):
        extended = [*batches[-1], index] if batches else []
        if extended and _work(sizes, extended) <= limit * sum(_work(sizes, [each]) for each in extended):
            batches[-1] = extended
        else:
            batches.append([index])
    return batches


def _work(sizes: list[list[int]], indices: list[int]) -> int:
    """Multiplications to take the product of each matrix with its transpose, all padded to the largest."""
    rows, columns = (max(sizes[index][axis] for index in indices) for axis in (0, 1))
    return len(indices) * rows**2 * columns
