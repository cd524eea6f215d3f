"""torch.compile for training: compile the batch sizes that recur, and copy outputs that CUDA graphs would overwrite."""

from __future__ import annotations

import math
import os
import shutil

import torch
from torch import Tensor, nn

from ..config import TrainingOptions
from .process_group import Ranks


class Compiled:
    """A compiled model beside the original, whose parameter names checkpoints keep; on CUDA with graphs.

    Only recurring batch sizes are compiled, each on its own, because torch gives up after eight. Other batches run
    uncompiled. The output of a captured graph is overwritten by its next replay, so it is copied.
    """

    def __init__(self, model: nn.Module, sizes: set[int], layout: torch.memory_format, *, graphs: bool) -> None:
        self.model = model
        self._sizes, self._layout, self._graphs = sizes, layout, graphs
        self._compiled = torch.compile(model, mode="reduce-overhead" if graphs else None, dynamic=False)

    def __call__(self, images: Tensor) -> Tensor:
        if len(images) not in self._sizes:
            return self.model(images)
        # A view has other strides, for which the model would be compiled again.
        images = images.contiguous(memory_format=self._layout)
        if not self._graphs:
            return self._compiled(images)
        torch.compiler.cudagraph_mark_step_begin()
        return self._compiled(images).clone()


def compiled(model: nn.Module, training: TrainingOptions, device: torch.device, ranks: Ranks) -> Compiled:
    """Compile a model for the full batches of training and evaluation.

    Several ranks use no CUDA graphs: the exchange of their gradients cannot be captured.
    """
    assert isinstance(training.evaluation_batch_size, int)
    share = ranks.shard.sizes(training.batch_size, training.batch_size)[0]
    part = math.ceil(share / training.accumulation)
    views = math.ceil(training.evaluation_batch_size * training.test_time_share)
    sizes = {part, share % part or part, training.evaluation_batch_size, views}
    layout = torch.channels_last if training.channels_last else torch.contiguous_format
    return Compiled(model, sizes, layout, graphs=device.type == "cuda" and ranks.world == 1)


def compiler_missing(device: torch.device) -> str:
    """The language of the compiler that torch.compile needs on a device and cannot find; "" where it is installed."""
    language, variable, names = (
        ("C", "CC", ("gcc", "clang", "cc"))
        if device.type == "cuda"
        else ("C++", "CXX", ("g++", "clang++", "c++", "cl"))
    )
    chosen = os.environ.get(variable, "")
    return "" if any(map(shutil.which, (chosen, *names))) else language
