"""Build torch optimizers from their options and a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn, optim

from . import AdamOptions, AdamWOptions, MuonOptions, SgdOptions
from .eager import eager
from .groups import groups_of
from .muon import Muon


def sgd(options: SgdOptions, model: nn.Module) -> optim.Optimizer:
    """SGD with momentum."""
    optimizer = eager(optim.SGD)(
        groups_of(model, options),
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
        fused=_fused(model),
    )
    if options.momentum:
        # If the gradient scaler skipped a fused first step, the momentum would stay uninitialised memory.
        for parameter in model.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def adam(options: AdamOptions, model: nn.Module) -> optim.Optimizer:
    """Adam with weight decay added to the gradient."""
    return eager(optim.Adam)(groups_of(model, options), **_of_adam(options, model))


def adamw(options: AdamWOptions, model: nn.Module) -> optim.Optimizer:
    """Adam with decoupled weight decay."""
    return eager(optim.AdamW)(groups_of(model, options), **_of_adam(options, model))


def _of_adam(options: AdamOptions | AdamWOptions, model: nn.Module) -> dict[str, Any]:
    return {
        "lr": options.lr,
        "betas": (options.beta1, options.beta2),
        "eps": options.eps,
        "weight_decay": options.weight_decay,
        "fused": _fused(model),
        # Only then does Adam allow the capture of its update as a CUDA graph.
        "capturable": all(parameter.is_cuda for parameter in model.parameters()),
    }


def _fused(model: nn.Module) -> bool:
    """Whether one kernel can update all parameters; with a gradient scaler this also saves a synchronisation a step."""
    kinds = {parameter.device.type for parameter in model.parameters()}
    return kinds <= {"cpu", "cuda"}


def muon(options: MuonOptions, model: nn.Module) -> optim.Optimizer:
    """Muon for filters and hidden matrices; SGD for the last layer, and for biases and scales."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    hidden, last = matrices[:-1], matrices[-1:]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    shared = {"momentum": options.other_momentum, "weight_decay": options.weight_decay}
    groups: list[dict[str, Any]] = [
        {
            "params": hidden,
            "weight_decay": options.weight_decay,
            "momentum": options.momentum,
            "orthogonal": True,
            "iterations": options.iterations,
            "normalize": options.normalize,
        },
        {"params": last, "lr": options.last_lr, **shared},
        {"params": vectors, "lr": options.bias_lr, **shared},
    ]
    return eager(Muon)([group for group in groups if group["params"]], options.lr)
