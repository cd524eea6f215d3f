"""Export the model of a run for other programs, as TorchScript or safetensors."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from ..config import parse_config
from ..data.image_spec import ImageSpec
from ..errors import InputError, LogsError
from ..models import build
from ..runs.best_weights import best_weights
from ..runs.index import read_header
from ..utils.files import write_atomically
from ..utils.validation import positive

Form = Literal["torchscript", "safetensors"]
SUFFIXES: dict[Form, str] = {"torchscript": "pt", "safetensors": "safetensors"}


class Deployed(nn.Module):
    """A model with normalisation included: pixels from 0 to 1 [B, C, H, W] to logits [B, K]."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model((pixels - self.mean) / self.std)


def export(folder: Path, form: Form, target: Path) -> tuple[str, ...]:
    """Write a run's best weights to `target`, atomically; returns why better checkpoints were skipped, if any.

    Raises:
        LogsError: run.json is damaged, or does not match the weights.
        InputError: the target cannot be written.
        CheckpointError: no checkpoint is valid.
    """
    make = {"torchscript": _torchscript, "safetensors": _safetensors}
    header, weights = _header(folder), best_weights(folder)
    try:
        content = make[form](header, weights.tensors)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise LogsError(
            f"{folder / 'run.json'} does not describe its weights ({error})", "export another run"
        ) from None
    try:
        write_atomically(target, content, durable=True)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror})", "choose another file with --output"
        ) from None
    return weights.passed_over


def _torchscript(header: dict[str, Any], weights: dict[str, Tensor]) -> bytes:
    spec = ImageSpec(**{name: positive(header["data"]["image"][name]) for name in ImageSpec.__dataclass_fields__})
    options = parse_config(header["config"]).model
    # Compared on the meta device first: a forged size must not allocate memory.
    with torch.device("meta"):
        described = {name: value.shape for name, value in build(options, spec).state_dict().items()}
    if described != {name: value.shape for name, value in weights.items()}:
        raise ValueError("their shapes differ")
    model = build(options, spec)
    model.load_state_dict(weights)
    deployed = Deployed(model, header["data"]["mean"], header["data"]["std"]).eval()
    example = torch.zeros(2, spec.channels, spec.height, spec.width)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Deprecated in favour of torch.export, whose files other runtimes do not read yet.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(deployed, example), buffer)
    return buffer.getvalue()


def _safetensors(header: dict[str, Any], weights: dict[str, Tensor]) -> bytes:
    return safetensors.torch.save(weights, {key: json.dumps(header[key]) for key in ("run_id", "config", "data")})


def _header(folder: Path) -> dict[str, Any]:
    header = read_header(folder)
    if not {"run_id", "config", "data"} <= set(header):
        raise LogsError(f"{folder / 'run.json'} is missing or damaged", "export another run")
    return header
