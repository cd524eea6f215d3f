"""The parts of a network that fine-tuning treats differently: its first and last layer, its blocks, its dropout."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from ..errors import ConfigError, Fault

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
BLOCK_SHARE = 0.4
"""A module with more of the parameters than this is taken apart into blocks."""


def head_of(model: nn.Module) -> nn.Module:
    """The last layer, which gives the logits; ConfigError where there is none."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers:
        raise ConfigError([Fault("model.name", "the network has no last linear layer: it cannot be fine-tuned")])
    return layers[-1]


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """The first layer and its name, where it is a convolution."""
    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear))
    name, module = next(layers, ("", None))
    return (name, module) if isinstance(module, nn.Conv2d) else None


def with_channels(model: nn.Module, channels: int) -> nn.Module:
    """The model with a first convolution for this number of channels."""
    found = first_convolution(model)
    if found is None or found[1].in_channels == channels:
        return model
    name, old = found
    parent, _, own = name.rpartition(".")
    sizes = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding, "bias": old.bias is not None}
    new = nn.Conv2d(channels, old.out_channels, **sizes)  # pyright: ignore[reportArgumentType]
    setattr(model.get_submodule(parent), own, new)
    return model


def with_dropout(model: nn.Module, dropout: float | str, name: str) -> nn.Module:
    """The model with this probability in all of its dropout layers; "default" leaves them as they are."""
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    if isinstance(dropout, str):
        return model
    if not layers:
        raise ConfigError([Fault("model.dropout", f"{name} has no dropout; leave it out")])
    for layer in layers:
        layer.p = dropout
    return model


def blocks_of(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters by block, from the first to the last: a layer of a plain network, a residual or attention block.

    What is neither, such as batch norm or a position embedding, belongs to the block before it.
    """
    total, found, seen = sum(each.numel() for each in model.parameters()), [list[nn.Parameter]()], set[nn.Parameter]()
    for module in _modules(model, total):
        own = [each for each in module.parameters(recurse=module is not model) if each not in seen]
        joins = not any(isinstance(each, nn.Linear | nn.Conv2d) for each in module.modules())
        if own and not (joins or not found[-1]):
            found.append([])
        found[-1] += own
        seen.update(own)
    rest = [each for each in model.parameters() if each not in seen]
    found[0] += rest
    return [block for block in found if block]


def _modules(module: nn.Module, total: int) -> Iterator[nn.Module]:
    for child in module.children():
        size = sum(each.numel() for each in child.parameters())
        apart = isinstance(child, CONTAINERS) or (size > BLOCK_SHARE * total and any(True for _ in child.children()))
        yield from _modules(child, total) if apart else [child]


class Freezer:
    """Keeps a part of a network as it is: its weights, and the running statistics of its batch norm.

    `freeze` is "none", "backbone" or "batch-norm"; during the first `epochs` epochs it is the backbone.
    """

    def __init__(self, model: nn.Module, freeze: str, epochs: int) -> None:
        self.model, self.freeze, self.epochs = model, freeze, epochs
        self._trainable = [each for each in model.parameters() if each.requires_grad]
        head = head_of(model) if freeze == "backbone" or epochs else None
        self._head = set(head.modules()) if head else set[nn.Module]()

    def start_epoch(self, epoch: int) -> bool:
        """Put the model into training mode for an epoch; returns whether other parameters are trained than before."""
        self.model.train()
        frozen = set(self._frozen("backbone" if epoch <= self.epochs else self.freeze))
        for module in frozen:
            module.training = False
        fixed = {each for module in frozen for each in module.parameters(recurse=False)}
        changed = [each for each in self._trainable if each.requires_grad == (each in fixed)]
        for parameter in changed:
            parameter.requires_grad_(parameter not in fixed)
            parameter.grad = None
        return bool(changed)

    def _frozen(self, freeze: str) -> Iterator[nn.Module]:
        for module in self.model.modules():
            if (freeze == "backbone" and module not in self._head) or (
                freeze == "batch-norm" and isinstance(module, _BatchNorm)
            ):
                yield module
