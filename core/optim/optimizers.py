"""Builders of optimizers: options and parameters to torch optimizers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn, optim

from core.optim import AdamOptions, AdamWOptions, SgdOptions


def sgd(options: SgdOptions, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """SGD with momentum, in foreach form."""
    return optim.SGD(
        parameters,
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
    )


def adam(options: AdamOptions, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Adam with its weight decay in the gradient."""
    betas = (options.beta1, options.beta2)
    return optim.Adam(parameters, lr=options.lr, betas=betas, eps=options.eps, weight_decay=options.weight_decay)


def adamw(options: AdamWOptions, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Adam with decoupled weight decay."""
    betas = (options.beta1, options.beta2)
    return optim.AdamW(parameters, lr=options.lr, betas=betas, eps=options.eps, weight_decay=options.weight_decay)
