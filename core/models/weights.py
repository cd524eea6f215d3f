"""Weights from elsewhere: where they are, downloading them, reading them without running code, loading them in part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from ..data.dataset import download
from ..data.image_spec import Progress
from ..errors import DataError, InputError
from ..utils.files import open_regular
from .download import resume_download
from .parts import first_convolution, head_of

UNWRAPPED = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights in a file with more."""
_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
"""Names of an older version of DenseNet, as its weights still have them."""


@dataclass(frozen=True, slots=True)
class Source:
    """Weights of a library: the network, the address, and the bytes to download."""

    network: str
    url: str
    size: int

    @property
    def path(self) -> Path:
        """The file in torch's own cache, which other programs share."""
        cache = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
        return Path(cache).expanduser() / "hub" / "checkpoints" / self.url.rpartition("/")[2]

    @property
    def note(self) -> str:
        """What will be downloaded, as a sentence; "" where the file is there."""
        if self.path.exists():
            return ""
        return f"the weights of {self.network} ({self.size / 2**20:.0f} MiB) will be downloaded into {self.path.parent}"


def fetch(source: Source, allowed: bool) -> Iterator[Progress]:
    """Download weights that are missing, and resume a download that was interrupted.

    Raises:
        DataError: that is not possible or not `allowed`; the hint names the file and the folder to put it into.
    """
    path = source.path
    if path.exists():
        return
    fix = f"put {source.url} into {path.parent}"
    if not allowed:
        raise DataError(f"the weights of {source.network} are missing", f"{fix}, or set data.download=true")
    part = path.with_name(f"{path.name}.download")
    places = source.url, str(part), str(path)
    code = f"from {resume_download.__module__} import resume_download; resume_download(*{places!r})"
    try:
        yield from download(f"the weights of {source.network}", code, path.parent, part, source.url, source.size)
    except DataError as error:
        raise DataError(error.message, fix) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or PyTorch file by name; nothing in the file is run.

    Raises:
        InputError: it cannot be read, or contains more than tensors.
    """
    try:
        with open(open_regular(path, links=True), "rb") as file:
            if path.suffix == ".safetensors":
                found: Any = load(file.read())
            else:
                found = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", "give the path of a file of weights") from None
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise _not_weights(path, str(error).strip().partition("\n")[0]) from None
    except Exception as error:  # noqa: BLE001 - an unpickler raises anything for a damaged or forged file
        raise _not_weights(path, f"it is damaged, or holds more than tensors: {type(error).__name__}") from None
    for key in UNWRAPPED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    tensors = (
        {name: value for name, value in found.items() if torch.is_tensor(value)} if isinstance(found, dict) else {}
    )
    if not tensors:
        raise _not_weights(path, "it holds no tensors by name")
    return {str(name).removeprefix("module."): value for name, value in tensors.items()}


def _not_weights(path: Path, why: str) -> InputError:
    return InputError(f"{path} holds no weights that can be loaded ({why})", "save a state_dict, best as .safetensors")


def load_weights(model: nn.Module, tensors: dict[str, Tensor], name: str) -> tuple[str, ...]:
    """Copy tensors into a model by name; returns the names of those that stay random.

    A last layer for other classes stays random; filters of the first convolution are summed or repeated over other
    channels; a position embedding [1, N, D] of a vision transformer is resized.

    Raises:
        InputError: other layers do not fit; the message names some.
    """
    tensors = {"".join(match.groups()) if (match := _DENSENET.match(key)) else key: it for key, it in tensors.items()}
    head = {id(value) for value in head_of(model).parameters()}
    first, random, wrong = first_convolution(model), list[str](), list[str]()
    with torch.no_grad():
        for key, own in model.state_dict(keep_vars=True).items():
            given = tensors.get(key)
            if given is not None and given.shape != own.shape:
                if first is not None and own is first[1].weight and given.shape[2:] == own.shape[2:]:
                    given = _over_channels(given, own.shape[1])
                elif key.endswith("pos_embedding") and given.ndim == own.ndim == 3:
                    given = _resized_positions(given, own.shape[1])
            if given is not None and given.shape == own.shape:
                own.copy_(given)
            elif id(own) in head:
                random.append(key)
            elif not key.endswith("num_batches_tracked"):
                wrong.append(key)
    if wrong:
        raise InputError(
            f"{name} does not fit the network: {len(wrong)} tensors are missing or differ in shape, such as {wrong[0]}",
            "choose the network that the weights are from",
        )
    return tuple(random)


def _over_channels(weight: Tensor, channels: int) -> Tensor:
    """Filters [N, C, K, K] for other channels, whose outputs keep their size: summed for one, else repeated in turn."""
    had = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, [index % had for index in range(channels)]] * (had / channels)


def _resized_positions(embedding: Tensor, count: int) -> Tensor:
    """A position embedding [1, 1 + S², D] for another number of patches, the class token first."""
    old, new = round((embedding.shape[1] - 1) ** 0.5), round((count - 1) ** 0.5)
    grid = embedding[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=True)
    return torch.cat([embedding[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
