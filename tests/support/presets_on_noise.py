"""Presets on noise in the shape of their images: small enough for tests of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchdeck import presets
from torchdeck.core.config import ExperimentConfig, parse_config, to_plain

SIMILAR = ("lenet-dropout", "lenet-l2", "lenet-cpu-baseline")
PRESETS = [name for name in presets.names() if name not in SIMILAR and not name.startswith("finetune-")]
"""Those that differ in more than a number, and need no weights of others."""
CLASSES = {"tiny-imagenet": 200, "cifar100": 100}
KEPT = ("size", "crop_padding", "crop_fill", "flip", "cutout", "jitter")


def on_noise(preset: str, changes: Mapping[str, Any] = {}, *, steps: int = 3) -> ExperimentConfig:
    """A preset for one epoch of so many whole batches and one of two images, with `{"section.key": value}` changes."""
    content = to_plain(presets.load(preset).config)
    data, training = content["data"], content["training"]
    size = changes.get("training.batch_size", min(training["batch_size"], 64))
    noise = {
        "name": "synthetic",
        "channels": 1 if "mnist" in data["name"] or data["name"] == "digits" else 3,
        "classes": CLASSES.get(data["name"], 10),
        "train_images": steps * size + 2,
        "test_images": 130,
    }
    content["data"] = noise | {key: data[key] for key in KEPT}
    content["training"] = training | {"epochs": 1, "patience": 0, "batch_size": size, "evaluation_batch_size": 64}
    content["schedule"] |= {"warmup_epochs": 0.0}
    for key, value in changes.items():
        section, name = key.split(".")
        content[section][name] = value
    return parse_config(content)
