"""Batch size and learning rate of a run on several devices as text."""

from __future__ import annotations

from ...core.config import ExperimentConfig
from .values import count


def batch_text(size: int, ranks: int) -> str:
    """The batch size and its split over devices: 128 = 2 x 64; uneven ones as 10 = 2 x 3 + 2 x 2."""
    base, remainder = divmod(size, max(1, ranks))
    if ranks < 2:
        return count(size)
    if not remainder:
        return f"{count(size)} = {ranks} x {count(base)}"
    return f"{count(size)} = {remainder} x {count(base + 1)} + {ranks - remainder} x {count(base)}"


def rate_text(config: ExperimentConfig) -> str:
    """The learning rate after linear scaling; "" if the settings do not scale it."""
    factor, rate = config.training.lr_rule, config.optimizer.lr
    return f"{rate * factor:.4g} = {rate:g} x {factor:g}" if config.training.lr_batch_size else ""
