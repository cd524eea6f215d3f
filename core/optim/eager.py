"""Torch's optimizers without the decorators that import torch's compiler, which takes over a second."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar, cast

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=type[Optimizer])
GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods that torch decorates so that its compiler leaves them alone; the decorator imports the compiler."""


def eager(kind: Kind) -> Kind:
    """A subclass of an optimizer that makes the same updates, by the same methods without their decorators."""
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    step = inspect.unwrap(kind.step)
    methods |= {"step": torch.no_grad()(step), "__doc__": kind.__doc__}
    return cast("Kind", type(kind.__name__, (kind,), methods))
