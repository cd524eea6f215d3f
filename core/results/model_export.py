"""Export the model of a run for other programs: ONNX, PT2, TorchScript or safetensors.

A model that is exported with its computation is loaded again in a process of its own and compared with the run's model.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from ..config import to_plain
from ..errors import InputError, RunError
from ..runs.best_weights import best_weights
from ..utils.extras import check_extra
from ..utils.files import write_atomically
from . import exported_model
from .trained_model import TrainedModel, header_of_run, load_trained

Form = Literal["torchscript", "safetensors", "onnx", "pt2"]
SUFFIXES: dict[Form, str] = {"torchscript": "pt", "safetensors": "safetensors", "onnx": "onnx", "pt2": "pt2"}
MAX_DIFFERENCE = 1e-4
"""Between a logit (or probability) of the exported model and the run's; more is a failure."""
COMPARED = 7
"""Images of the comparison: another number than the export was traced with, so that its batch must be dynamic."""


class FromBytes(nn.Module):
    """A model with all that a program would do around it: uint8 images [B, C, H, W] to probabilities [B, K]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.float() / 255).softmax(1)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to: the largest difference to the run's model, and why better checkpoints were skipped."""

    difference: float | None
    passed_over: tuple[str, ...]


def export(folder: Path, form: Form, target: Path, *, whole: bool = False) -> Exported:
    """Write a run's best model to `target`, atomically, after comparing it with the run's model.

    A `whole` model takes uint8 images and gives probabilities; else pixels from 0 to 1, and logits.

    Raises:
        LogsError: run.json is damaged, or does not match the weights.
        InputError: the target cannot be written, or what writes the format is not installed.
        CheckpointError: no checkpoint is valid.
        RunError: the exported model does not load, or computes something else.
    """
    if form == "safetensors":
        header, weights = header_of_run(folder), best_weights(folder)
        about = {key: json.dumps(header[key]) for key in ("run_id", "config", "data")}
        _write(target, safetensors.torch.save(weights.tensors, about))
        return Exported(None, weights.passed_over)
    if form == "onnx":
        check_extra("onnxscript", "onnx", "exporting ONNX")
    trained = load_trained(folder)
    network: nn.Module = FromBytes(trained.network).eval() if whole else trained.network
    network = network.to(memory_format=torch.contiguous_format)
    content = _MAKERS[form](network, _images(trained, 2, whole), describe(trained, whole))
    images = _images(trained, COMPARED, whole)
    with torch.no_grad():
        expected = network(images)
    difference = _difference(content, form, images, expected)
    _write(target, content)
    return Exported(difference, trained.passed_over)


def describe(trained: TrainedModel, whole: bool) -> dict[str, str]:
    """The metadata of an exported model: what goes in, what comes out, and where it is from."""
    spec, data = trained.spec, to_plain(trained.config)["data"]
    about = {
        "run_id": trained.run_id,
        "epoch": trained.epoch,
        "metrics": trained.metrics,
        "classes": trained.classes,
        "input": {"shape": ["batch", spec.channels, spec.height, spec.width], "type": "uint8" if whole else "float32"},
        "pixels": "0 to 255" if whole else "0 to 1",
        "output": "probabilities" if whole else "logits",
        "preprocessing": {name: data[name] for name in ("size", "resize", "background", "crop", "cache_side")},
        "normalization": "included",
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}


def _images(trained: TrainedModel, count: int, whole: bool) -> Tensor:
    """Images to trace and compare with: the same for every export."""
    spec = trained.spec
    random = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, spec.channels, spec.height, spec.width), generator=random, dtype=torch.uint8)
    return images if whole else images.float() / 255


def _torchscript(network: nn.Module, images: Tensor, about: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Deprecated in favour of torch.export; kept for programs that read nothing else.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, images), buffer, _extra_files=about)
    return buffer.getvalue()


def _pt2(network: nn.Module, images: Tensor, about: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},), strict=False)
        torch.export.save(program, buffer, extra_files=about)
    return buffer.getvalue()


def _onnx(network: nn.Module, images: Tensor, about: dict[str, str]) -> bytes:
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (images,),
            input_names=["images"],
            output_names=["output"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(about)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        program.save(path, external_data=False)
        return path.read_bytes()


_MAKERS: dict[Form, Callable[[nn.Module, Tensor, dict[str, str]], bytes]] = {
    "torchscript": _torchscript,
    "pt2": _pt2,
    "onnx": _onnx,
}


def _difference(content: bytes, form: Form, images: Tensor, expected: Tensor) -> float:
    """The largest difference of the outputs of the exported model, loaded in a fresh process; raises RunError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / f"model.{SUFFIXES[form]}"
        model.write_bytes(content)
        np.save(folder / "images.npy", images.numpy())
        command = [sys.executable, "-P", "-m", exported_model.__name__, form, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
        with suppress(OSError, ValueError):
            found = np.load(folder / "output.npy", allow_pickle=False)
            difference = float(np.abs(found - expected.numpy()).max())
            if difference <= MAX_DIFFERENCE:
                return difference
            raise RunError(
                f"the exported model differs from the run's by {difference:.2g}, more than {MAX_DIFFERENCE:g}",
                "export another format",
            )
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise RunError(f"the exported model cannot be loaded ({last[:200]})", "export another format")


def _write(target: Path, content: bytes) -> None:
    try:
        write_atomically(target, content, durable=True)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror})", "choose another file with --output"
        ) from None
