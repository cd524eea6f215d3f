"""Build torchvision's classifiers for any number of classes and channels, and find their pretrained weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from ..data.image_spec import ImageSpec
from . import TorchvisionOptions
from .parts import with_channels, with_dropout
from .weights import Source


def network(options: TorchvisionOptions, spec: ImageSpec) -> nn.Module:
    """A classifier with random weights.

    Raises:
        ConfigError: it has no dropout to set.
        ValueError, RuntimeError: it cannot take images of this size.
    """
    arch, extra = options.arch, dict[str, Any]()
    if arch.startswith("vit_"):
        if spec.height != spec.width:
            raise ValueError("it takes square images only")
        extra = {"image_size": spec.height}
    elif arch == "maxvit_t":
        extra = {"input_size": (spec.height, spec.width)}
    elif arch in ("googlenet", "inception_v3"):
        # Their weights expect other pixels than ImageNet's normalisation gives.
        extra = {"aux_logits": False, "init_weights": True}
        extra["transform_input"] = options.weights != "none" and spec.channels == 3
    with _CountsOnCpu() if arch.startswith("regnet_") else nullcontext():
        built = models.get_model(arch, weights=None, num_classes=spec.classes, **extra)
    return with_dropout(with_channels(built, spec.channels), options.dropout, arch)


def source(options: TorchvisionOptions) -> Source:
    """Where the library has the weights that these options name."""
    found = models.get_model_weights(options.arch)[options.weights_name]
    return Source(options.arch, found.url, int(found.meta["_file_size"] * 2**20))


class _CountsOnCpu(TorchFunctionMode):
    """On meta, RegNet could not compute its widths: it does so with tensors."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return func(*args, **((kwargs or {}) | ({"device": "cpu"} if func in (torch.arange, torch.tensor) else {})))
