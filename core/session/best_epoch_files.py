"""Save the predictions and the first filters of the best epoch, which the Analyze page shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from ..data.dataset import ImageNames
from ..training.inference import Predictions
from ..utils.files import DISK, Disk, write_atomically


def save_analysis(
    folder: Path, model: nn.Module, predictions: Predictions, names: ImageNames, epoch: int, disk: Disk = DISK
) -> None:
    """Replace predictions.safetensors (top three classes per image) and filters.safetensors (the first convolution).

    `index` [N] are the indices of the images in the data set's test split, `paths` their files as UTF-8, separated by
    zero bytes.

    Raises:
        OSError: they cannot be written.
    """
    tensors = {
        "classes": predictions.classes.cpu().to(torch.int16),
        "probabilities": predictions.probabilities.cpu().to(torch.float16),
        "labels": predictions.labels.cpu().to(torch.int16),
        "index": torch.from_numpy(names.index.astype(np.int32)),
    }
    if names.paths:
        content = "\0".join(names.paths).encode("utf-8", "surrogateescape")
        tensors["paths"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    about = {"epoch": str(epoch)}
    write_atomically(folder / "predictions.safetensors", safetensors.torch.save(tensors, about), disk=disk)
    first = next((parameter for parameter in model.parameters() if parameter.ndim == 4), None)
    if first is not None:
        weight = first.detach().float().cpu().contiguous()
        content = safetensors.torch.save({"filters": weight}, about)
        write_atomically(folder / "filters.safetensors", content, disk=disk)
