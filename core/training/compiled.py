"""torch.compile for a training: which batch sizes are compiled, and outputs that a later call leaves alone."""

from __future__ import annotations

import math
import os
import shutil

import torch
from torch import Tensor, nn

from ..config import TrainingOptions
from .process_group import Ranks


class Compiled:
    """A model compiled without replacing it, since checkpoints keep its parameters' names; on CUDA as graphs.

    Only the batch sizes that come again and again are compiled, a compilation each; torch gives up after eight. Short
    batches run as they are. What a captured graph gives is overwritten by its next replay, so it is copied.
    """

    def __init__(self, model: nn.Module, sizes: set[int], layout: torch.memory_format, *, graphs: bool) -> None:
        self.model = model
        self._sizes, self._layout, self._graphs = sizes, layout, graphs
        self._compiled = torch.compile(model, mode="reduce-overhead" if graphs else None, dynamic=False)

    def __call__(self, images: Tensor) -> Tensor:
        if len(images) not in self._sizes:
            return self.model(images)
        # A view of an image has another layout, which would be compiled for itself.
        images = images.contiguous(memory_format=self._layout)
        if not self._graphs:
            return self._compiled(images)
        torch.compiler.cudagraph_mark_step_begin()
        return self._compiled(images).clone()


def compiled(model: nn.Module, training: TrainingOptions, device: torch.device, ranks: Ranks) -> Compiled:
    """A model compiled for the whole batches of training and evaluation.

    A graph would hold the exchange of gradients between ranks, which is not captured.
    """
    assert isinstance(training.evaluation_batch_size, int)
    share = ranks.shard.sizes(training.batch_size, training.batch_size)[0]
    part = math.ceil(share / training.accumulation)
    views = math.ceil(training.evaluation_batch_size * training.test_time_share)
    sizes = {part, share % part or part, training.evaluation_batch_size, views}
    layout = torch.channels_last if training.channels_last else torch.contiguous_format
    return Compiled(model, sizes, layout, graphs=device.type == "cuda" and ranks.world == 1)


def compiler_missing(device: torch.device) -> str:
    """Which compiler torch.compile needs on a device and cannot find; empty where it is there."""
    language, variable, names = (
        ("C", "CC", ("gcc", "clang", "cc"))
        if device.type == "cuda"
        else ("C++", "CXX", ("g++", "clang++", "c++", "cl"))
    )
    chosen = os.environ.get(variable, "")
    return "" if any(map(shutil.which, (chosen, *names))) else language
