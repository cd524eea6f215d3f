"""Describe a network: its layers, their FLOPs, and the activations that one image needs in memory.

A forward pass of no images reveals the shapes: nothing is computed, and no random state moves. A pass on `meta` would
import torch's compiler first, two seconds.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..data.image_spec import ImageSpec
from ..models.pooling import GlobalMaxPool
from ..models.whitening import Whitening

POOLS = (nn.MaxPool2d, GlobalMaxPool)
INDEX = 8
"""Bytes of the index that max pooling keeps for each output."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One leaf module: its name, kind, output shape for one image, parameters and forward FLOPs."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    flops: int


@dataclass(slots=True)
class Network:
    """What a forward pass reveals about a model; all counts are for one image."""

    layers: list[Layer] = field(default_factory=list[Layer])
    saved: int = 0
    """Floating-point numbers saved for the backward pass."""
    saved_bytes: int = 0
    """Bytes of indices and masks saved for the backward pass."""
    alive: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """At each layer of an evaluation, the floating-point numbers and the bytes of indices in memory."""
    patches: int = 0
    """Floating-point numbers in the patches that a whitening layer is fitted to."""


def describe_network(model: nn.Module, spec: ImageSpec) -> Network:
    """The layers of a model on `meta`, and what they keep; 2 FLOPs per multiply-add.

    The model stays behind on the CPU with weights of no value, whose memory was never touched.
    """
    found, living, kept = Network(), list["weakref.ref[Tensor]"](), dict[int, torch.UntypedStorage]()
    names = {module: name for name, module in model.named_modules()}

    def look(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        shape, indices = tuple(output.shape[1:]), INDEX * _numbers(output) if isinstance(module, POOLS) else 0
        found.layers.append(Layer(names[module], type(module).__name__, shape, parameters, _flops(module, shape)))
        found.saved_bytes += indices
        living.extend(weakref.ref(tensor) for tensor in (given[0], output) if tensor is not images)
        found.alive.append((alive(living), indices))
        _keep(found, kept, module, given[0], output)

    hooks = [module.register_forward_hook(look) for module in model.modules() if not list(module.children())]
    weights = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    was_training = model.training
    model.eval()
    images = torch.empty(0, spec.channels, spec.height, spec.width)
    with torch.no_grad():
        model(images)
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return found


def _flops(module: nn.Module, output: tuple[int, ...]) -> int:
    match module:
        case nn.Conv2d() | Whitening():
            return 2 * math.prod(output) * module.weight[0].numel()
        case nn.Linear():
            return 2 * math.prod(output) * module.in_features
        case _:
            return 0


def _keep(
    found: Network, kept: dict[int, torch.UntypedStorage], module: nn.Module, given: Tensor, output: Tensor
) -> None:
    """Note what the backward pass of a layer needs: its output for a ReLU, its input for most others."""
    wanted = output if isinstance(module, nn.ReLU) else given
    storage = wanted.untyped_storage()
    of_input = isinstance(module, (nn.ReLU, nn.GELU, nn.SiLU, *POOLS)) or any(True for _ in module.parameters())
    if of_input and _address(storage) not in kept:
        # Keep the storage, so that no other tensor gets its address; the tensor itself is not kept.
        kept[_address(storage)] = storage
        found.saved += _numbers(wanted)
    if isinstance(module, nn.Dropout) and module.p > 0:
        # In training its output is not its input; the mask is of bytes.
        found.saved += _numbers(output)
        found.saved_bytes += _numbers(output)
    if isinstance(module, Whitening):
        found.patches = math.prod(output.shape[2:]) * module.weight[0].numel()


def _numbers(tensor: Tensor) -> int:
    """The number of elements of a tensor per image."""
    return math.prod(tensor.shape[1:])


def _address(storage: torch.UntypedStorage) -> int:
    return storage._cdata  # pyright: ignore[reportPrivateUsage]


def alive(tensors: list[weakref.ref[Tensor]]) -> int:
    """The elements per image of the tensors that are still referenced."""
    held = [tensor for reference in tensors if (tensor := reference()) is not None]
    return sum({_address(tensor.untyped_storage()): _numbers(tensor) for tensor in held}.values())
