"""The model of a run with its best weights, ready to be used: pixels in, probabilities of named classes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ExperimentConfig, parse_config
from ..data.image_spec import ImageSpec
from ..errors import LogsError
from ..models import build
from ..runs.best_weights import best_weights
from ..runs.index import read_header
from ..runs.reader import load_record
from ..training.inference import predict
from ..utils.validation import positive


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


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A run's model at its best saved epoch, in evaluation mode, on the CPU."""

    run_id: str
    config: ExperimentConfig
    spec: ImageSpec
    classes: tuple[str, ...]
    network: Deployed
    epoch: int | None
    """The epoch of the weights; None for a checkpoint within an epoch."""
    metrics: dict[str, float]
    passed_over: tuple[str, ...] = ()
    """Why better checkpoints were skipped."""

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits [B, K] of uint8 images [B, C, H, W], with the test-time augmentation of the run."""
        training = self.config.training.model_copy(update={"test_time_share": 1.0})
        layout = torch.channels_last if training.channels_last else torch.contiguous_format
        return predict(self.network, (images.float() / 255).contiguous(memory_format=layout), training)


def load_trained(folder: Path) -> TrainedModel:
    """Load the model of a run with the weights of its best epoch.

    Raises:
        LogsError: run.json is damaged, or does not match the weights.
        CheckpointError: no checkpoint is valid.
    """
    header, weights, record = header_of_run(folder), best_weights(folder), load_record(folder)
    try:
        image = header["data"]["image"]
        spec = ImageSpec(**{name: positive(image[name]) for name in ImageSpec.__dataclass_fields__})
        config = parse_config(header["config"])
        model = _with_weights(config, spec, weights.tensors)
        network = Deployed(model, header["data"]["mean"], header["data"]["std"]).eval()
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise LogsError(
            f"{folder / 'run.json'} does not describe its weights ({error})", "choose another run"
        ) from None
    names = tuple(record.started.class_names) if record.started else ()
    if len(names) != spec.classes:
        names = tuple(f"class {index}" for index in range(spec.classes))
    # Not always those of the best epoch, which may not have been saved, or be damaged.
    ended = next((epoch for epoch in reversed(record.epochs) if epoch.step == weights.step), None)
    known = (ended.epoch, dict(ended.metrics)) if ended else (None, {})
    return TrainedModel(folder.name, config, spec, names, network, *known, weights.passed_over)


def _with_weights(config: ExperimentConfig, spec: ImageSpec, weights: dict[str, Tensor]) -> nn.Module:
    # Compared on the meta device first: a forged size must not allocate memory.
    with torch.device("meta"):
        described = {name: value.shape for name, value in build(config.model, spec).state_dict().items()}
    if described != {name: value.shape for name, value in weights.items()}:
        raise ValueError("their shapes differ")
    model = build(config.model, spec)
    model.load_state_dict(weights)
    return model.to(memory_format=torch.channels_last) if config.training.channels_last else model


def header_of_run(folder: Path) -> dict[str, Any]:
    """The content of a run's run.json; raises LogsError where it is damaged."""
    header = read_header(folder)
    if not {"run_id", "config", "data"} <= set(header):
        raise LogsError(f"{folder / 'run.json'} is missing or damaged", "choose another run")
    return header
