"""What a GPU makes of every preset: images a second, FLOP/s over the card's measured matrix rate, peak memory.

Each preset trains as it is, on resident noise in the shape of its data, for some seconds after it has warmed up. A
training step counts as three forward passes. The matrix rate is that of a product of two bf16 matrices of 8192x8192
here. The reports' script is their DataLoader through PIL transforms with 2 workers, an fp32 step each batch.

Usage: python benchmarks/gpu.py [--presets lenet ...] [--seconds 10] [--device cuda] [--short] [--json]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bare import random_images
from blocks import Figure, figure, parser, report
from data_path import Pictures
from torch.nn import functional
from torch.utils.data import DataLoader

from torchdeck import presets
from torchdeck.core.config import ExperimentConfig, parse_config, to_plain
from torchdeck.core.control import Control
from torchdeck.core.data.image_spec import ImageSpec
from torchdeck.core.events import RunCompleted, RunFailed, RunStarted, StepCompleted
from torchdeck.core.models import build
from torchdeck.core.session.session import SessionContext, run

WARM_UP = 5.0
IN_SHORT = ("lenet", "basic-cnn", "resnet18")
BARS = {"lenet": ">= 20", "basic-cnn": ">= 20"}


def matrix_rate(device: torch.device, size: int = 8192, times: int = 50) -> float:
    """FLOP/s of a product of bf16 matrices, the best of three."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(times):
            left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 * times / (time.perf_counter() - start))
    return best


def on_noise(config: ExperimentConfig, device: str) -> ExperimentConfig:
    """The preset's settings with noise in the shape of its images, without an end."""
    content = to_plain(config)
    data: Mapping[str, Any] = content["data"]
    channels = 1 if "mnist" in data["name"] else 3
    kept = {key: data[key] for key in ("size", "crop_padding", "flip")}
    noise = {"name": "synthetic", "channels": channels, "train_images": 50_000, "test_images": 1000}
    training = content["training"] | {"epochs": 100_000, "device": device, "patience": 0}
    return parse_config(content | {"data": noise | kept, "training": training})


def train(config: ExperimentConfig, seconds: float) -> tuple[list[float], int, int]:
    """Images a second between each two events within an epoch after the warm-up, forward FLOP an image, peak bytes."""
    control, speeds, flops, peak = Control(), list[float](), 0, 0
    start, last = time.perf_counter(), (0.0, 0, 0)
    with tempfile.TemporaryDirectory() as name:
        context = SessionContext(Path(name), sample_every=0.25)
        for event in run(config, Path(name) / "logs", control, context=context):
            now = time.perf_counter()
            match event:
                case RunStarted():
                    flops, start = event.forward_flops, now
                case StepCompleted(phase="train"):
                    # Its figures left the device, so every step up to it is done.
                    if now - start > WARM_UP and event.epoch == last[1]:
                        speeds.append((event.step - last[2]) * config.training.batch_size / (now - last[0]))
                    last = (now, event.epoch, event.step)
                    if now - start > WARM_UP + seconds and speeds:
                        control.request("stop", "measured")
                case RunCompleted():
                    peak = event.peak_memory or 0
                case RunFailed():
                    print(event.error.traceback, file=sys.stderr)
                case _:
                    pass
    return speeds, flops, peak


def reports_speed(config: ExperimentConfig, device: torch.device, seconds: float) -> float:
    """Images a second of the reports' loop on the same network."""
    images, labels = random_images(20_000)
    loader = DataLoader(
        Pictures(images, labels), config.training.batch_size, True, num_workers=2, persistent_workers=True
    )
    model = build(config.model, ImageSpec(3, 32, 32, 10)).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    seen, start = 0, 0.0
    while True:
        for batch, truth in loader:
            if not seen and not start:
                start = time.perf_counter()  # the workers have started
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch.to(device)), truth.to(device))
            loss.backward()
            optimizer.step()
            loss.item()
            seen += len(truth)
            if time.perf_counter() - start > seconds:
                return seen / (time.perf_counter() - start)


def figures(name: str, device: str, seconds: float, rate: float) -> list[Figure]:
    """The figures of one preset."""
    config = on_noise(presets.load(name).config, device)
    speeds, flops, peak = train(config, seconds)
    if not speeds:
        return []
    achieved = [3 * flops * speed / rate for speed in speeds]
    bar = ">= 0.35" if name == "wrn-28-10" else ""
    found = [
        figure(f"{name}: images a second", speeds, "wall", unit="images/s"),
        figure(f"{name}: FLOP/s over the matrix rate", achieved, "wall", bar=bar),
        figure(f"{name}: peak memory", [peak / 2**20], "-", unit="MiB"),
    ]
    if name in BARS:
        theirs = reports_speed(config, torch.device(device), seconds)
        ratios = [speed / theirs for speed in speeds]
        found.append(figure(f"{name}: images/s over the reports' script", ratios, "wall", bar=BARS[name]))
    return found


def main() -> None:
    """Print the figures as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--presets", nargs="+", help="(default all; short: lenet, basic-cnn and resnet18)")
    made.add_argument("--seconds", type=float, help="seconds a preset, after the warm-up (default 10; short: 3)")
    made.add_argument("--device", default="cuda", help="cpu works too, to try the script")
    asked = made.parse_args()
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device is to be had here; gpu.py measures one", file=sys.stderr)
        sys.exit(2)
    device = torch.device(asked.device)
    rate = matrix_rate(device, *((8192, 50) if device.type == "cuda" else (1024, 2)))
    wanted = asked.presets or (IN_SHORT if asked.short else [name for name in presets.names() if name != "quickstart"])
    seconds = asked.seconds or (3.0 if asked.short else 10.0)
    found = [item for name in wanted for item in figures(name, asked.device, seconds, rate)]
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    report("gpu", found, asked.json, card=card, matrix_tflops=round(rate / 1e12, 2))


if __name__ == "__main__":
    main()
