"""Copies of tensors in host memory, with one synchronisation of the device for all of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def on_host(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The tensors in host memory, those of a GPU as copies in pinned memory; what is there already is not copied."""
    tensors = list(tensors)
    copies = [tensor.detach().to("cpu", non_blocking=True) for tensor in tensors]
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()
    return copies
