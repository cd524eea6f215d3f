"""The preflight: resolve every `auto`, check what only the data and the machine can tell, and count the work.

Nothing is allocated on a device and no random state moves: the model is built on `meta`, and a batch of no images tells
the shapes. A forward pass on `meta` would import torch's compiler first, two seconds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import ExperimentConfig, Precision, ranks_of
from ..data import open_dataset
from ..data.dataset import Facts
from ..data.prepare import disk_needed
from ..devices.device_spec import devices_of
from ..devices.torch_device import computes_bf16, free_memory, pick_device
from ..errors import ConfigError, Fault
from ..models import build
from ..models.whitening import Whitening
from .compiled import compiler_missing

MIN_WORK = 1e13
"""FLOPs of a whole run, some minutes on a few cores: below, measuring costs more than bf16 can save."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that computes: its name, kind, output shape for one image, parameters and forward FLOPs."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    flops: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A config with nothing automatic left but a precision to be measured, and what running it takes."""

    config: ExperimentConfig
    facts: Facts
    device: torch.device
    train_images: int
    validation_images: int
    test_images: int
    steps_per_epoch: int
    parameters: int
    forward_flops: int
    fixed_memory: int
    memory_per_image: int
    layers: tuple[Layer, ...]
    disk: int = 0
    """Bytes of decoded images that the data folder is to get first."""
    notes: tuple[str, ...] = ()
    """What a person should know of the data before training, as sentences."""

    @property
    def ranks(self) -> int:
        """Processes that train the run together."""
        return ranks_of(self.config)

    @property
    def images_at_once(self) -> int:
        """Images whose activations stand in the memory of one device together."""
        return math.ceil(self.config.training.batch_size / self.ranks / self.config.training.accumulation)

    @property
    def memory(self) -> int:
        """Bytes that training takes; an estimate."""
        return self.fixed_memory + self.images_at_once * self.memory_per_image

    def to_json(self) -> dict[str, Any]:
        """What `--dry-run` prints, in JSON's types."""
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
    """The plan of a config on this machine, for one rank where there are several.

    Raises:
        ConfigError: settings that this data set, model or machine cannot meet.
        DataError: a data set whose shape only its files tell, and they are missing.
    """
    device = device_of(config, rank)
    dataset = open_dataset(config.data, data_root)
    facts = dataset.facts()
    if facts.validation_images and config.data.validation == "held-out":
        message = "the data set has a validation split of its own, which chooses the best epoch; leave this setting out"
        raise ConfigError([Fault("data.validation", message)])
    train_images = _train_images(config, facts)
    _check_batch(config, train_images)
    with torch.device("meta"):
        model = build(config.model, facts.spec)
    layers = tuple(describe_layers(model, facts))
    _check_last_batch(config, train_images, layers, model)
    forward_flops = sum(layer.flops for layer in layers)
    # A backward pass takes twice a forward one.
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
        fixed_memory=_fixed_memory(config, facts, model),
        memory_per_image=4 * sum(math.prod(layer.output) for layer in layers),
        layers=layers,
        disk=disk_needed(dataset, resolved.data.source == "streamed"),
        notes=dataset.notes(),
    )


def with_precision(plan: Plan, precision: Precision) -> Plan:
    """The plan with its precision settled."""
    training = plan.config.training.model_copy(update={"precision": precision})
    return dataclasses.replace(plan, config=plan.config.model_copy(update={"training": training}))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Optimizer steps in one pass; the last short batch is kept."""
    return math.ceil(images / batch_size)


def resolve(config: ExperimentConfig, device: torch.device, facts: Facts, work: float) -> ExperimentConfig:
    """The config with every `auto` replaced by what it means on this device for `work` FLOPs in all.

    A precision to be measured stays `auto`.
    """
    training, on_gpu, here = config.training, device.type == "cuda", devices_of(config.training.device)
    precision: Precision = training.precision
    if precision == "auto":
        # A gradient scaler waits for the device at each step of an optimizer that is not torch's own.
        worth_measuring = work >= MIN_WORK and computes_bf16()
        on_cuda = "bf16" if config.optimizer.name == "muon" else "fp16"
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
        source = "resident" if _image_bytes(config, facts) < free_memory(device) / 2 else "streamed"
    return config.model_copy(update={"training": changed, "data": config.data.model_copy(update={"source": source})})


def describe_layers(model: nn.Module, facts: Facts) -> Iterator[Layer]:
    """The layers of a model on `meta`, seen by a forward pass of no images; 2 FLOPs per multiply-add.

    The model stays behind on the CPU with weights of no value, whose memory was never touched.
    """
    seen: list[Layer] = []
    names = {module: name for name, module in model.named_modules()}

    def look(module: nn.Module, _: tuple[Any, ...], output: Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        shape = tuple(output.shape[1:])
        seen.append(Layer(names[module], type(module).__name__, shape, parameters, _flops(module, shape)))

    hooks = [module.register_forward_hook(look) for module in model.modules() if not list(module.children())]
    spec = facts.spec
    weights = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model(torch.empty(0, spec.channels, spec.height, spec.width))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    yield from seen


def _flops(module: nn.Module, output: tuple[int, ...]) -> int:
    match module:
        case nn.Conv2d() | Whitening():
            return 2 * math.prod(output) * module.weight[0].numel()
        case nn.Linear():
            return 2 * math.prod(output) * module.in_features
        case _:
            return 0


def device_of(config: ExperimentConfig, rank: int) -> torch.device:
    """The device of a rank; those of all ranks of this machine are there.

    Raises:
        ConfigError: they are not, or cannot do what is asked.
    """
    training = config.training
    if training.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError([Fault("training.device", "no CUDA device is to be had here; use training.device=cpu")])
    devices = [pick_device(name) for name in devices_of(training.device)]
    device = devices[rank % len(devices)]
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and any((each.index or 0) >= count for each in devices):
        raise ConfigError([Fault("training.device", f"there are {count} CUDA devices, cuda:0 to cuda:{count - 1}")])
    if device.type == "cpu" and training.precision == "fp16":
        raise ConfigError([Fault("training.precision", "fp16 needs a CUDA device; use bf16, fp32 or auto on a CPU")])
    if training.compile and (language := compiler_missing(device)):
        raise ConfigError([Fault("training.compile", f"needs a {language} compiler, which is not installed here")])
    if device.type == "cpu" and training.sync_batch_norm:
        raise ConfigError([Fault("training.sync_batch_norm", "works between GPUs only; turn it off on a CPU")])
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


def _check_last_batch(config: ExperimentConfig, images: int, layers: tuple[Layer, ...], model: nn.Module) -> None:
    """Batch normalisation cannot train on one value per channel, as a last batch of one image would give."""
    normalised = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)}
    single = any(layer.name in normalised and math.prod(layer.output[1:]) == 1 for layer in layers)
    size, ranks = config.training.batch_size, ranks_of(config)
    shares = {-(-batch // ranks) for batch in (size, images % size)} | {size // ranks, images % size // ranks}
    if single and 1 in shares:
        where, by = (" on one of the devices", ranks) if ranks > 1 else ("", "one")
        message = f"the last batch would hold one image{where}, too few for batch normalisation; change it by {by}"
        raise ConfigError([Fault("training.batch_size", message)])


def _image_bytes(config: ExperimentConfig, facts: Facts) -> int:
    """Bytes of the resident images; training ones with their padding, and once more mirrored."""
    spec, around = facts.spec, 2 * config.data.crop_padding
    plain = facts.validation_images + facts.test_images
    canvas = (spec.height + around) * (spec.width + around) * (2 if config.data.flip else 1)
    return spec.channels * (facts.train_images * canvas + plain * spec.height * spec.width)


def _fixed_memory(config: ExperimentConfig, facts: Facts, model: nn.Module) -> int:
    """Bytes whatever the batch: weights, gradients, optimizer state and the resident images; an estimate."""
    states = {"sgd": 1 if getattr(config.optimizer, "momentum", 0) else 0}.get(config.optimizer.name, 2)
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4 * (2 + states)
    return weights + (0 if config.data.source == "streamed" else _image_bytes(config, facts))
