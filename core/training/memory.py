"""What a run takes of its device's memory, by what takes it: an estimate, held against torch's allocator by tests."""

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
"""The workspace that CUBLAS_WORKSPACE_CONFIG asks for."""
CONTEXT = 500 * MIB
"""A CUDA context with PyTorch's kernels; torch's allocator does not count it."""
TORCH = 600 * MIB
"""Torch itself, where a run shares the memory of its process."""
WHITENING_IMAGES = 5000
"""Training images that a whitening layer is fitted to."""
FLOATS = {"fp64": 8, "fp16": 2, "bf16": 2}
"""Bytes of a number between two layers, where they are not four."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device."""

    fixed: int
    """Weights (and their copies in half precision), optimizer state, slow weights, resident images."""
    gradients: int
    at_start: int
    """Beside what is fixed, to lay out the images and to fit a whitening layer."""
    per_image: int
    """Of a training step: what the backward pass needs."""
    per_evaluated: int
    """Of an evaluation step."""
    workspace: int
    """cuBLAS's."""
    cudnn_per_image: int
    """What cuDNN's algorithms may ask for: no more than a guess, as large as the largest output of a layer."""
    outside: int
    """What torch's allocator does not count: CUDA's context, or on a CPU torch itself."""

    def training(self, images: int, accumulation: int = 1) -> int:
        """Bytes that the allocator reaches in a step of so many images at once.

        Gradients take the place of what they are computed from, unless those of other parts are there already.
        """
        step = images * self.per_image
        return self.fixed + self.workspace + (max(step, self.gradients) if accumulation == 1 else step + self.gradients)

    def evaluation(self, images: int) -> int:
        """Bytes that the allocator reaches in the evaluation of so many images at once."""
        return self.fixed + self.gradients + images * self.per_evaluated


def memory_of(
    config: ExperimentConfig, device: torch.device, facts: Facts, model: nn.Module, network: Network
) -> Memory:
    """The memory of a config with nothing automatic left; `network` is what a look at its model told."""
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
    """Numbers that the optimizer keeps for each weight."""
    return {"sgd": int(getattr(config.optimizer, "momentum", 0) > 0), "muon": 1}.get(config.optimizer.name, 2)


def image_bytes(config: ExperimentConfig, facts: Facts) -> int:
    """Bytes of the resident images and labels; training images with their padding, and once more mirrored."""
    spec, data, around = facts.spec, config.data, 2 * config.data.crop_padding
    canvas = (spec.height + around) * (spec.width + around) * (2 if data.flip else 1)
    train = min(data.train_limit or facts.train_images, facts.train_images)
    test = min(data.test_limit or facts.test_images, facts.test_images)
    plain = facts.validation_images + test
    pixels = spec.channels * (train * canvas + plain * spec.height * spec.width)
    return pixels + PLACES * (train + plain)


PLACES = 48
"""Bytes of an image's label, of its place in an epoch, and of what is done to it there."""
