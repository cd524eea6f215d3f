"""Describe a network of unknown parts by two passes on `meta`: layers, FLOPs, and what a training step keeps.

Exact where `layers.py`, which knows Torchdeck's own networks, would guess: attention, functional operations, and
whatever autograd saves. It imports torch's compiler, which takes a second.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from ..data.image_spec import ImageSpec
from ..errors import ConfigError, Fault
from .layers import Layer, Network, alive

IMAGES = 2
"""Images in a pass: with one, batch norm behind a pooling of all pixels would refuse to train."""


def trace_network(model: nn.Module, spec: ImageSpec, name: str) -> Network:
    """The layers of a model on `meta`, and what one image takes.

    Raises:
        ConfigError: the network fails on images of this shape, or does not return logits [B, classes].
    """
    images = torch.empty(IMAGES, spec.channels, spec.height, spec.width, device="meta")
    try:
        with torch.device("meta"):
            found = _layers(model, images, spec)
            found.saved, found.saved_bytes = _saved(model, images)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - a network of any kind raises anything
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise size_error(name, spec, why) from None
    return found


def size_error(name: str, spec: ImageSpec, why: str) -> ConfigError:
    """The error of a network that cannot take images of this shape."""
    shape = f"{spec.height}x{spec.width} images with {spec.channels} channels"
    return ConfigError(
        [Fault("model.name", f"{name} cannot take {shape} ({why[:200]}); set data.size to another size")]
    )


def _layers(model: nn.Module, images: Tensor, spec: ImageSpec) -> Network:
    """A forward pass of an evaluation: each module that computes something itself, in order."""
    from torch.utils.flop_counter import FlopCounterMode

    found, living, seen = Network(), list["weakref.ref[Tensor]"](), set[nn.Parameter]()
    names = {module: name for name, module in model.named_modules()}
    counter, stack = FlopCounterMode(display=False), list[list[int]]()

    def enter(module: nn.Module, given: Any) -> None:  # noqa: ARG001
        stack.append([counter.get_total_flops(), 0])

    def leave(module: nn.Module, given: Any, output: Any) -> None:  # noqa: ARG001
        started, inner = stack.pop()
        total = counter.get_total_flops() - started
        if stack:
            stack[-1][1] += total
        result = output[0] if isinstance(output, tuple) else output
        if not isinstance(result, Tensor):
            return
        living.append(weakref.ref(result))
        found.alive.append((alive(living), 0))
        if total > inner or not list(module.children()):
            new = [each for each in module.parameters() if each not in seen]
            seen.update(new)
            numbers = sum(each.numel() for each in new)
            flops = (total - inner) // IMAGES
            found.layers.append(Layer(names[module], type(module).__name__, tuple(result.shape[1:]), numbers, flops))

    hooks = [module.register_forward_pre_hook(enter) for module in model.modules()]
    hooks += [module.register_forward_hook(leave) for module in model.modules()]
    was_training = model.training
    model.eval()
    with torch.no_grad(), counter:
        logits = model(images)
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    if not isinstance(logits, Tensor) or logits.shape != (IMAGES, spec.classes):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigError([Fault("model.name", f"the network returns {shape}, not logits [B, {spec.classes}]")])
    return found


def _saved(model: nn.Module, images: Tensor) -> tuple[int, int]:
    """Floating-point numbers, and bytes of anything else, that autograd keeps of one image."""
    weights = {value.untyped_storage()._cdata for value in model.state_dict().values()}  # pyright: ignore[reportPrivateUsage]
    kept: dict[int, tuple[torch.UntypedStorage, bool]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if (address := storage._cdata) not in weights:  # pyright: ignore[reportPrivateUsage]
            kept[address] = storage, tensor.is_floating_point()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(images)
    del logits
    numbers = sum(storage.nbytes() for storage, floating in kept.values() if floating) // torch.float32.itemsize
    rest = sum(storage.nbytes() for storage, floating in kept.values() if not floating)
    return numbers // IMAGES, rest // IMAGES
