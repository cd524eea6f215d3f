"""What a run on several devices makes of its batch and learning rate, in words."""

from __future__ import annotations

from ...core.config import ExperimentConfig
from .values import count


def batch_text(size: int, ranks: int) -> str:
    """The images of a step and those on each device: 128 = 2 x 64; 10 = 2 x 3 + 2 x 2 where they cannot be even."""
    least, over = divmod(size, max(1, ranks))
    if ranks < 2:
        return count(size)
    if not over:
        return f"{count(size)} = {ranks} x {count(least)}"
    return f"{count(size)} = {over} x {count(least + 1)} + {ranks - over} x {count(least)}"


def rate_text(config: ExperimentConfig) -> str:
    """The learning rate that the linear rule makes of the one in the settings; "" without a rule."""
    rule, asked = config.training.lr_rule, config.optimizer.lr
    return f"{asked * rule:.4g} = {asked:g} x {rule:g}" if config.training.lr_batch_size else ""
