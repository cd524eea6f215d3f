"""Torch's optimizers without the door to its compiler, whose first opening imports it: a second and more."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar, cast

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=type[Optimizer])
GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""What torch keeps its compiler out of by a decorator that asks the compiler for it."""


def eager(kind: Kind) -> Kind:
    """A subclass that makes the same updates, by the same methods under their decorators."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    step = inspect.unwrap(kind.step)
    methods |= {"step": torch.no_grad()(step), "__doc__": kind.__doc__}
    return cast("Kind", type(kind.__name__, (kind,), methods))
