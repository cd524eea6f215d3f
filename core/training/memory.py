"""Estimate the device memory of a run, by kind; tests compare it with torch's allocator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ..config import ExperimentConfig
from ..data.batches import CHUNK_BYTES
from ..data.dataset import Facts
from .layers import Network

MIB = 2**20
CUBLAS = 32 * MIB
"""The workspace set by CUBLAS_WORKSPACE_CONFIG."""
CONTEXT = 500 * MIB
"""A CUDA context with PyTorch's kernels, which torch's allocator does not count."""
TORCH = 600 * MIB
"""Torch itself, on a CPU, where a run shares the memory of its process."""
WHITENING_IMAGES = 5000
"""Training images that a whitening layer is fitted to."""
FLOATS = {"fp64": 8, "fp16": 2, "bf16": 2}
"""Bytes of a number between two layers, for precisions other than fp32."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device, by kind."""

    fixed: int
    """Weights (and their copies in half precision), optimizer state, slow weights, resident images."""
    gradients: int
    at_start: int
    """In addition at the start, to lay out the images and to fit a whitening layer."""
    per_image: int
    """Activations of a training step that the backward pass needs."""
    per_evaluated: int
    """Activations of an evaluation step."""
    workspace: int
    """The workspace of cuBLAS."""
    cudnn_per_image: int
    """A guess at the workspace of cuDNN's algorithms: the size of the largest output of a layer."""
    outside: int
    """What torch's allocator does not count: the CUDA context, or on a CPU torch itself."""

    def training(self, images: int, accumulation: int = 1) -> int:
        """Peak bytes of the allocator in a training step of this many images at once.

        Gradients replace the activations that they are computed from, unless those of other parts are there already.
        """
        step = images * self.per_image
        return self.fixed + self.workspace + (max(step, self.gradients) if accumulation == 1 else step + self.gradients)

    def evaluation(self, images: int) -> int:
        """Peak bytes of the allocator in the evaluation of this many images at once."""
        return self.fixed + self.gradients + images * self.per_evaluated


def memory_of(
    config: ExperimentConfig, device: torch.device, facts: Facts, model: nn.Module, network: Network
) -> Memory:
    """The memory of a resolved config; `network` describes its model."""
    training, on_gpu = config.training, device.type == "cuda"
    precision, spec = training.precision, facts.spec
    size, half = FLOATS.get(precision, 4), precision in ("fp16", "bf16")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    weights = parameters * max(4, size)
    copies = 1 + _states(config) + (1 if training.lookahead else 0)
    pixels = spec.channels * spec.height * spec.width
    # The bytes of a picture, the same as float32, and in the precision of the first layer where that is another.
    images = pixels * (1 + 4 + (0 if size == 4 else size))
    resident = 0 if config.data.source == "streamed" else image_bytes(config, facts)
    whitening = (
        min(WHITENING_IMAGES, facts.train_images) * (network.patches * (4 + 8) + images) if network.patches else 0
    )
    return Memory(
        fixed=weights * copies + (2 * parameters if half else 0) + resident,
        gradients=weights,
        at_start=max(whitening, 2 * CHUNK_BYTES),
        per_image=images + size * network.saved + network.saved_bytes,
        per_evaluated=images + max(size * floats + indices for floats, indices in network.alive),
        workspace=CUBLAS if on_gpu else 0,
        cudnn_per_image=size * max(math.prod(layer.output) for layer in network.layers) if on_gpu else 0,
        outside=CONTEXT if on_gpu else TORCH,
    )


def _states(config: ExperimentConfig) -> int:
    """Floating-point numbers of optimizer state per weight."""
    return {"sgd": int(getattr(config.optimizer, "momentum", 0) > 0), "muon": 1}.get(config.optimizer.name, 2)


def image_bytes(config: ExperimentConfig, facts: Facts) -> int:
    """Bytes of the resident images and labels; training images with their padding, and a mirrored copy for flips."""
    spec, data = facts.spec, config.data
    around = 2 * data.crop_padding if data.crop == "pad" else 0
    canvas = (spec.height + around) * (spec.width + around) * (2 if data.flip else 1)
    canvas = math.prod(data.stored_sides) if data.is_sampled else canvas
    train = min(data.train_limit or facts.train_images, facts.train_images)
    test = min(data.test_limit or facts.test_images, facts.test_images)
    plain = facts.validation_images + test
    pixels = spec.channels * (train * canvas + plain * spec.height * spec.width)
    return pixels + PLACES * (train + plain)


PLACES = 48
"""Bytes of an image's label, of its place in an epoch, and of what is done to it there."""
