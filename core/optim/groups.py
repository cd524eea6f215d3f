"""Parameter groups with learning rates of their own: a slower backbone, and slower blocks towards the images."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import nn

from ..models.parts import blocks_of, head_of
from . import LayeredOptions


def groups_of(model: nn.Module, options: LayeredOptions) -> list[nn.Parameter] | list[dict[str, Any]]:
    """The parameters of a model; with `backbone_lr` or `layer_decay` in groups of equal learning rates.

    The decay counts blocks from the last layer, whose factor is 1, to the first (layer-wise decay, Howard and Ruder
    2018).
    """
    if options.backbone_lr == options.layer_decay == 1:
        return list(model.parameters())
    head, blocks = set(head_of(model).parameters()), blocks_of(model)
    groups: dict[float, list[nn.Parameter]] = defaultdict(list)
    for above, block in enumerate(reversed(blocks)):
        for parameter in block:
            own = 1.0 if parameter in head else options.backbone_lr
            groups[own * options.layer_decay**above].append(parameter)
    return [{"params": found, "lr": options.lr * factor} for factor, found in sorted(groups.items(), reverse=True)]
