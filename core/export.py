"""A run in the forms that other programs read: TorchScript and safetensors."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from core import checkpoint
from core.config import parse_config
from core.errors import CheckpointError, InputError, LogsError, TorchdeckError
from core.files import read_json, write_atomically
from core.images import ImageSpec
from core.logs import load_record
from core.models import build

Form = Literal["torchscript", "safetensors"]
ENDINGS: dict[Form, str] = {"torchscript": "pt", "safetensors": "safetensors"}


class Deployed(nn.Module):
    """A model that takes pixels from 0 to 1 [B, C, H, W], normalises them as in training, and gives logits [B, K]."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model((pixels - self.mean) / self.std)


def export(folder: Path, form: Form, target: Path) -> None:
    """Write a run's best weights to `target`, replacing it whole or not at all.

    Raises:
        InputError: the run lacks what the form needs, or the target cannot be written.
        CheckpointError: no checkpoint verifies.
    """
    make: dict[Form, Callable[[Path], bytes]] = {
        "torchscript": _torchscript,
        "safetensors": _safetensors,
    }
    content = make[form](folder)
    try:
        write_atomically(target, content, durable=True)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror})", "choose another file with --output"
        ) from None


def _torchscript(folder: Path) -> bytes:
    header = _header(folder)
    spec = ImageSpec(**header["data"]["image"])
    model = build(parse_config(header["config"]).model, spec)
    model.load_state_dict(best_weights(folder))
    deployed = Deployed(model, header["data"]["mean"], header["data"]["std"]).eval()
    example = torch.zeros(2, spec.channels, spec.height, spec.width)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Deprecated in favour of torch.export, whose files other runtimes do not yet take.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(deployed, example), buffer)
    return buffer.getvalue()


def _safetensors(folder: Path) -> bytes:
    header = _header(folder)
    metadata = {key: json.dumps(header[key]) for key in ("run_id", "config", "data")}
    return safetensors.torch.save(best_weights(folder), metadata)


def best_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the best epoch, else of the newest checkpoint that verifies.

    Raises:
        CheckpointError: there is none.
    """
    root = folder / "checkpoints"
    best = load_record(folder).best_saved
    places = [checkpoint.folder_of(root, best)] if best is not None else []
    for place in [*places, *checkpoint.newest(root)]:
        try:
            return checkpoint.load_model(place)
        except TorchdeckError:
            continue
    raise CheckpointError(f"run {folder.name} has no checkpoint that verifies", "train it again, or resume it")


def _header(folder: Path) -> dict[str, Any]:
    header = read_json(folder / "run.json")
    if not isinstance(header, dict) or not {"run_id", "config", "data"} <= set(header):
        raise LogsError(f"{folder / 'run.json'} is missing or damaged", "export another run")
    return header
