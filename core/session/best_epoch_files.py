"""The predictions and the first filters of the best epoch, which the Analyze page shows."""

from __future__ import annotations

import numpy as np
import safetensors.torch
import torch
from torch import nn

from ..data.dataset import ImageNames
from ..training.host_copy import on_host
from ..training.inference import Predictions


def analysis_of(model: nn.Module, predictions: Predictions, names: ImageNames, epoch: int) -> dict[str, bytes]:
    """The contents, by name, of predictions.safetensors and filters.safetensors.

    The filters are those of the first convolution, if the model has one.
    """
    first = next((parameter for parameter in model.parameters() if parameter.ndim == 4), None)
    weights = [] if first is None else [first.float()]
    found = on_host([predictions.classes, predictions.probabilities, predictions.labels, *weights])
    classes, probabilities, labels, *filters = found
    contents = {"predictions.safetensors": predictions_file(Predictions(classes, probabilities, labels), names, epoch)}
    for weight in filters:
        about = {"epoch": str(epoch)}
        contents["filters.safetensors"] = safetensors.torch.save({"filters": weight.contiguous()}, about)
    return contents


def predictions_file(predictions: Predictions, names: ImageNames, epoch: int) -> bytes:
    """The content of predictions.safetensors: the top three classes of each image, given on the CPU.

    `index` [N] are the indices of the images in the data set's test split, `paths` their files as UTF-8, separated by
    zero bytes.
    """
    tensors = {
        "classes": predictions.classes.to(torch.int16),
        "probabilities": predictions.probabilities.to(torch.float16),
        "labels": predictions.labels.to(torch.int16),
        "index": torch.from_numpy(names.index.astype(np.int32)),
    }
    if names.paths:
        content = "\0".join(names.paths).encode("utf-8", "surrogateescape")
        tensors["paths"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return safetensors.torch.save(tensors, {"epoch": str(epoch)})
