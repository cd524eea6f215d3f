"""The plan of a run: resolve every `auto`, check the settings against data and machine, count work and memory.

Nothing is allocated on a device and no random state moves: the model is built on `meta`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config import ExperimentConfig, Precision, ranks_of
from ..data import open_dataset
from ..data.dataset import Facts
from ..data.image_spec import ImageSpec
from ..data.prepare import disk_needed
from ..devices.device_spec import devices_of
from ..devices.torch_device import computes_bf16, free_memory, pick_device
from ..errors import ConfigError, Fault
from ..models import LibraryOptions, build
from .compiled import compiler_missing
from .layers import Layer, Network, describe_network
from .memory import Memory, image_bytes, memory_of
from .starting_weights import source_of
from .tracing import size_error, trace_network

MIN_WORK = 1e13
"""FLOPs of a whole run, some minutes on a few cores; below, measuring costs more than bf16 can save."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A config with every `auto` resolved, except a precision to be measured, and what running it takes."""

    config: ExperimentConfig
    facts: Facts
    device: torch.device
    train_images: int
    validation_images: int
    test_images: int
    steps_per_epoch: int
    parameters: int
    forward_flops: int
    memory_by: Memory
    layers: tuple[Layer, ...]
    disk: int = 0
    """Bytes of decoded images to be written to the data folder first."""
    notes: tuple[str, ...] = ()
    """Notes on the data for the user, as sentences."""

    @property
    def ranks(self) -> int:
        """The number of processes that train the run together."""
        return ranks_of(self.config)

    @property
    def images_at_once(self) -> int:
        """Images whose activations are in the memory of one device at the same time."""
        return math.ceil(self.config.training.batch_size / self.ranks / self.config.training.accumulation)

    @property
    def evaluated_at_once(self) -> int:
        """Images of an evaluation batch."""
        size = self.config.training.evaluation_batch_size
        assert isinstance(size, int)
        return size

    @property
    def captures_steps(self) -> bool:
        """Whether training steps are to be captured as a CUDA graph."""
        return self.config.training.cuda_graph != "off" and not no_graph_reason(self.config, self.device)

    @property
    def allocated(self) -> int:
        """Estimated peak bytes of torch's allocator, without the workspaces of cuDNN."""
        memory = self.memory_by
        step = memory.training(self.images_at_once, self.config.training.accumulation)
        return max(step, memory.evaluation(self.evaluated_at_once), memory.fixed + memory.at_start)

    @property
    def memory(self) -> int:
        """Estimated bytes that the run takes on its device."""
        memory, images = self.memory_by, self.images_at_once
        # A graph keeps the memory of its step, so that an evaluation cannot use it.
        unshared = min(images * memory.per_image, self.evaluated_at_once * memory.per_evaluated)
        graph = unshared if self.captures_steps else 0
        return self.allocated + graph + images * memory.cudnn_per_image + memory.outside

    def to_json(self) -> dict[str, Any]:
        """The plan as `--dry-run --json` prints it."""
        return {
            "config": self.config.model_dump(mode="json"),
            "device": self.config.training.device,
            "ranks": self.ranks,
            "lr": self.config.optimizer.lr * self.config.training.lr_rule,
            "parameters": self.parameters,
            "forward_flops": self.forward_flops,
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self.steps_per_epoch * self.config.training.epochs,
            "train_images": self.train_images,
            "validation_images": self.validation_images,
            "test_images": self.test_images,
            "classes": list(self.facts.class_names),
            "estimated_memory": self.memory,
            "disk": self.disk,
            "notes": list(self.notes),
            "layers": [
                {"name": layer.name, "kind": layer.kind, "output": list(layer.output), "parameters": layer.parameters}
                for layer in self.layers
            ],
        }


def make_plan(config: ExperimentConfig, data_root: Path, rank: int = 0) -> Plan:
    """Make the plan of a config on this machine, for one rank where there are several.

    Raises:
        ConfigError: settings do not fit the data set, the model or the machine.
        DataError: the shape of the data set is only known from its files, and they are missing.
    """
    device = device_of(config, rank)
    dataset = open_dataset(config.data, data_root)
    facts = dataset.facts()
    if facts.validation_images and config.data.validation == "held-out":
        message = "the data set has a validation split of its own, which chooses the best epoch; leave this setting out"
        raise ConfigError([Fault("data.validation", message)])
    train_images = _train_images(config, facts)
    _check_batch(config, train_images)
    model, network = _network(config, facts.spec)
    _check_last_batch(config, train_images, network.layers, model)
    forward_flops = sum(layer.flops for layer in network.layers)
    # A backward pass costs twice a forward pass.
    work = 3.0 * forward_flops * train_images * config.training.epochs
    resolved = resolve(config, device, facts, work)
    return Plan(
        config=resolved,
        facts=facts,
        device=device,
        train_images=train_images,
        validation_images=_validation_images(config, facts),
        test_images=min(config.data.test_limit or facts.test_images, facts.test_images),
        steps_per_epoch=steps_per_epoch(train_images, config.training.batch_size),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        forward_flops=forward_flops,
        memory_by=memory_of(resolved, device, facts, model, network),
        layers=tuple(network.layers),
        disk=disk_needed(dataset, resolved.data.source == "streamed"),
        notes=(*dataset.notes(), *device_notes(resolved, device), *_weights_notes(config)),
    )


def no_graph_reason(config: ExperimentConfig, device: torch.device) -> str:
    """Why training steps cannot be captured as a CUDA graph; "" where it can be tried."""
    if device.type != "cuda" or ranks_of(config) > 1:
        return "training steps are captured on one CUDA device only"
    return "training.compile captures the model in graphs of its own" if config.training.compile else ""


def _network(config: ExperimentConfig, spec: ImageSpec) -> tuple[nn.Module, Network]:
    """The model on `meta`, and its description."""
    options = config.model
    if not isinstance(options, LibraryOptions):
        with torch.device("meta"):
            model = build(options, spec)
        return model, describe_network(model, spec)
    name = str(getattr(options, "arch", options.name))
    try:
        with torch.device("meta"):
            model = build(options, spec)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - a library's network raises anything
        raise size_error(name, spec, str(error)) from None
    return model, trace_network(model, spec, name)


def _weights_notes(config: ExperimentConfig) -> tuple[str, ...]:
    source = source_of(config)
    return (source.note,) if source and source.note else ()


def device_notes(config: ExperimentConfig, device: torch.device) -> tuple[str, ...]:
    """Notes on the device for the user."""
    if device.type == "cuda" and config.training.precision == "bf16" and not computes_bf16(device):
        return (f"{device} has no units for bf16 and emulates it: training.precision=fp16 is faster",)
    return ()


def with_precision(plan: Plan, precision: Precision) -> Plan:
    """The plan with a precision in place of `auto`."""
    training = plan.config.training.model_copy(update={"precision": precision})
    return dataclasses.replace(plan, config=plan.config.model_copy(update={"training": training}))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer steps in one epoch; a last, short batch counts."""
    return math.ceil(images / batch_size)


def resolve(config: ExperimentConfig, device: torch.device, facts: Facts, work: float) -> ExperimentConfig:
    """The config with every `auto` resolved for this device and `work` FLOPs in all.

    A precision to be measured stays `auto`.
    """
    training, on_gpu, here = config.training, device.type == "cuda", devices_of(config.training.device)
    precision: Precision = training.precision
    if precision == "auto":
        # A gradient scaler synchronises the device at each step of an optimizer that is not torch's own.
        worth_measuring = work >= MIN_WORK and computes_bf16(device)
        on_cuda = "bf16" if config.optimizer.name == "muon" and computes_bf16(device) else "fp16"
        precision = on_cuda if on_gpu else "auto" if worth_measuring else "fp32"
    evaluation = training.evaluation_batch_size
    changed = training.model_copy(
        update={
            "device": training.device if len(here) > 1 else str(device),
            "precision": precision,
            "evaluation_batch_size": (1000 if on_gpu else 100) if evaluation == "auto" else evaluation,
            "channels_last": True if training.channels_last == "auto" else training.channels_last,
            "threads": max(1, torch.get_num_threads() // len(here)) if training.threads == "auto" else training.threads,
        }
    )
    source = config.data.source
    if source == "auto":
        source = "resident" if image_bytes(config, facts) < free_memory(device) / 2 else "streamed"
    return config.model_copy(update={"training": changed, "data": config.data.model_copy(update={"source": source})})


def device_of(config: ExperimentConfig, rank: int) -> torch.device:
    """The device of a rank, after checking the devices of all ranks on this machine.

    Raises:
        ConfigError: a device does not exist, or does not support the settings.
    """
    training = config.training
    if training.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError([Fault("training.device", "no CUDA device is available; use training.device=cpu")])
    devices = [pick_device(name) for name in devices_of(training.device)]
    device = devices[rank % len(devices)]
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and any((each.index or 0) >= count for each in devices):
        message = f"this machine has {count} CUDA device{'s' if count != 1 else ''}, numbered from cuda:0"
        raise ConfigError([Fault("training.device", message)])
    if device.type == "cpu" and training.precision == "fp16":
        raise ConfigError([Fault("training.precision", "fp16 needs a CUDA device; use bf16, fp32 or auto on a CPU")])
    if training.compile and (language := compiler_missing(device)):
        raise ConfigError([Fault("training.compile", f"needs a {language} compiler, which is not installed here")])
    if training.cuda_graph == "on" and (reason := no_graph_reason(config, device)):
        raise ConfigError([Fault("training.cuda_graph", f"{reason}; use auto or off")])
    if device.type == "cpu" and training.sync_batch_norm:
        raise ConfigError([Fault("training.sync_batch_norm", "works only between GPUs; turn it off on a CPU")])
    return device


def _train_images(config: ExperimentConfig, facts: Facts) -> int:
    images = min(config.data.train_limit or facts.train_images, facts.train_images)
    return images - _held_out(config, facts)


def _validation_images(config: ExperimentConfig, facts: Facts) -> int:
    own = min(config.data.test_limit or facts.validation_images, facts.validation_images)
    return own or _held_out(config, facts)


def _held_out(config: ExperimentConfig, facts: Facts) -> int:
    data = config.data
    images = min(data.train_limit or facts.train_images, facts.train_images)
    return round(images * data.validation_fraction) if data.validation == "held-out" else 0


def _check_batch(config: ExperimentConfig, images: int) -> None:
    if config.training.batch_size > images:
        message = f"{config.training.batch_size} is more than the {images} training images; lower it"
        raise ConfigError([Fault("training.batch_size", message)])


def _check_last_batch(config: ExperimentConfig, images: int, layers: list[Layer], model: nn.Module) -> None:
    """Refuse a last batch of one image where that leaves batch normalisation a single value per channel."""
    normalised = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    single = any(layer.name in normalised and math.prod(layer.output[1:]) == 1 for layer in layers)
    size, ranks = config.training.batch_size, ranks_of(config)
    shares = {-(-batch // ranks) for batch in (size, images % size)} | {size // ranks, images % size // ranks}
    if single and 1 in shares:
        where, by = (" on one of the devices", ranks) if ranks > 1 else ("", "one")
        message = f"the last batch would hold one image{where}, too few for batch normalisation; change it by {by}"
        raise ConfigError([Fault("training.batch_size", message)])
