"""The settings of an experiment: sections with bounds, choices and help; parsing, overrides, validation and hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .data import DATASETS, DataOptions, kept_augmentation
from .devices.device_spec import DEVICE_PATTERN, MAX_RANKS, devices_of
from .errors import ConfigError, Fault, nearest, shortened
from .models import MODELS, LibraryOptions
from .optim import OPTIMIZERS, SCHEDULES, ConstantOptions, OptimizerOptions, ScheduleOptions
from .utils.registry import NamedOptions, Options, Table
from .utils.toml_value import toml_value

if TYPE_CHECKING:
    DataSection = DataOptions
    ModelSection = NamedOptions
    OptimizerSection = OptimizerOptions
    ScheduleSection = ScheduleOptions
else:
    DataSection = DATASETS.union()
    ModelSection = MODELS.union()
    OptimizerSection = OPTIMIZERS.union()
    ScheduleSection = SCHEDULES.union()

MAX_IMAGES_AT_ONCE = 1_000_000
MAX_THREADS = 1024

Auto = Literal["auto"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "fp64"]


class TrainingOptions(Options):
    """Settings of the training itself."""

    later: ClassVar[frozenset[str]] = frozenset({"cuda_graph", "start_from", "freeze_epochs"})

    epochs: int = Field(default=10, ge=1, le=100_000, description="Passes over the training split")
    batch_size: int = Field(default=128, ge=1, description="Images per optimizer step")
    accumulation: int = Field(
        default=1, ge=1, description="Parts that each batch is split into, adding up their gradients: takes less memory"
    )
    evaluation_batch_size: int | Auto = Field(
        default="auto", description="Images per evaluation batch; auto: 1000 on a GPU, 100 on a CPU"
    )
    precision: Precision = Field(
        default="auto",
        description="Number format of the forward pass; auto: fp16 on CUDA (bf16 with muon), bf16 on a CPU where that"
        " is faster; fp32 on CUDA uses TF32 in matrix products and convolutions, unless deterministic; fp64 is slow,"
        " for telling rounding errors from bugs",
    )
    lookahead: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Lookahead: steps between two pulls of the weights towards their slow running mean; 0 = off",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of each label spread over all classes")
    gradient_clipping: float = Field(default=0.0, ge=0, description="Maximum norm of the gradient; 0 = no limit")
    on_divergence: Literal["stop", "roll-back"] = Field(
        default="stop",
        description="When a loss or weight is no longer finite: stop the run, or go back to the last checkpoint with"
        " half the learning rate, at most three times",
    )
    patience: int = Field(
        default=0, ge=0, le=100_000, description="Early stopping: epochs without improvement; 0 = off"
    )
    patience_metric: Literal["accuracy", "loss"] = Field(
        default="accuracy", description="The metric for early stopping, the best epoch and the plateau schedule"
    )
    target_accuracy: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Stop at this accuracy (0 to 1) on the split that chooses the best epoch; 0 = never",
    )
    test_time: Literal["plain", "mirror", "mirror-shift"] = Field(
        default="plain", description="Test-time augmentation: none, also mirrored images, or also shifted by one pixel"
    )
    test_time_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of each evaluation batch to augment: the least certain images"
    )
    start_from: str = Field(
        default="", description="Folder of a run, or .safetensors or .pt file, whose weights this run starts from"
    )
    freeze_epochs: int = Field(default=0, ge=0, le=100_000, description="First epochs, which train the last layer only")
    log_interval: int = Field(default=0, ge=0, description="Steps between two printed lines; 0 = one line per epoch")
    channels_last: bool | Auto = Field(default="auto", description="Store images with channels last; auto: yes")
    compile: bool = Field(default=False, description="Compile the model (torch.compile) before the first step")
    seed: int = Field(default=1, ge=0, lt=2**63, description="Seed of everything random")
    device: str = Field(
        default="auto",
        pattern=DEVICE_PATTERN,
        description="auto (prefers CUDA), cpu, cuda or cuda:N; cuda:0,1 or cpu:2: one process per device, which share"
        " every batch",
    )
    nodes: int = Field(default=1, ge=1, le=1024, description="Machines that train together, each with these devices")
    sync_batch_norm: bool = Field(
        default=False, description="On several GPUs: batch norm over the whole batch instead of each device's part"
    )
    lr_batch_size: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="The batch size that optimizer.lr is meant for; another one scales the rate in proportion (linear"
        " scaling rule); 0 = off",
    )
    threads: int | Auto = Field(default="auto", description="CPU threads for computation; auto: chosen by torch")
    deterministic: bool = Field(default=False, description="On CUDA: only algorithms that are reproducible bit for bit")
    cuda_graph: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="On one GPU: capture the training step as a CUDA graph and replay it, which saves the host's work"
        " for each operation; auto: where the step can be captured",
    )

    @property
    def lr_rule(self) -> float:
        """The factor of the learning rate for this batch size: the linear scaling rule (Goyal et al. 2017), or 1."""
        return self.batch_size / self.lr_batch_size if self.lr_batch_size else 1.0


class ExperimentConfig(Options):
    """All settings of one experiment."""

    data: DataSection
    model: ModelSection
    optimizer: OptimizerSection
    schedule: ScheduleSection = Field(default_factory=ConstantOptions)
    training: TrainingOptions = Field(default_factory=TrainingOptions)


def ranks_of(config: ExperimentConfig) -> int:
    """The number of processes that train a run of this config together."""
    return len(devices_of(config.training.device)) * config.training.nodes


SECTIONS: dict[str, Table | None] = {
    "data": DATASETS,
    "model": MODELS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "training": None,
}
_ADAPTER = TypeAdapter(ExperimentConfig)


def parse_config(content: Mapping[str, Any]) -> ExperimentConfig:
    """Parse nested content, in the types of TOML or JSON, to a config.

    Raises:
        ConfigError: all faults at once, each with its dotted path and, for a wrong name, the most similar valid one.
    """
    try:
        # JSON mode is stricter (Python mode accepts True as 1), and it accepts lists for tuples.
        config = _ADAPTER.validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise ConfigError(_merged(_fault(item, content) for item in error.errors())) from None
    config = _with_preprocessing(config)
    faults = list(_cross_checks(config))
    if faults:
        raise ConfigError(faults)
    return config


def _with_preprocessing(config: ExperimentConfig) -> ExperimentConfig:
    """The config with the image size and normalisation of pretrained weights, unless they are set."""
    meant = config.model.preprocessing() if isinstance(config.model, LibraryOptions) else {}
    unset = {name: value for name, value in meant.items() if name not in config.data.model_fields_set}
    return config.model_copy(update={"data": config.data.model_copy(update=unset)}) if unset else config


def to_plain(config: ExperimentConfig) -> dict[str, Any]:
    """The config as nested dicts in JSON's types."""
    return config.model_dump(mode="json")


def config_hash(config: ExperimentConfig) -> str:
    """SHA-256 of the config in canonical JSON, as hex; settings added later count only where they are not default."""
    content = {section: getattr(config, section).identity() for section in SECTIONS}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_data(name: str, overrides: Iterable[str]) -> DataOptions:
    """The data section of a data set, with `data.key=value` overrides.

    Raises:
        ConfigError: all faults at once.
    """
    quiet = {"model": {"name": "lenet"}, "optimizer": {"name": "sgd"}}
    return parse_config(with_overrides({"data": {"name": name}, **quiet}, overrides)).data


def with_overrides(content: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply `section.key=value` overrides to `content`; a changed `name` resets all but the data's augmentation.

    Raises:
        ConfigError: an override is not of that form, or names no section.
    """
    changed = {section: dict(cast("Mapping[str, Any]", values)) for section, values in content.items()}
    pairs = [_override(text) for text in overrides]
    sizes = [value for section, key, value in pairs if (section, key) == ("data", "size")]
    for section, key, value in sorted(pairs, key=lambda pair: pair[1] != "name"):
        if key == "name" and changed.get(section, {}).get("name") != value:
            kept = kept_augmentation(changed.get(section, {}), str(value), sizes) if section == "data" else {}
            changed[section] = {"name": value, **kept}
        changed.setdefault(section, {"name": "constant"} if section == "schedule" else {})[key] = value
    return changed


def _override(text: str) -> tuple[str, str, Any]:
    path, equals, value = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot or not key:
        raise ConfigError(
            [Fault("", f"'{shortened(text)}' is not of the form section.key=value, such as optimizer.lr=0.01")]
        )
    if section not in SECTIONS:
        raise ConfigError([Fault(path.strip(), f"no section named '{section}'; {nearest(section, SECTIONS)}")])
    return section, key, toml_value(value.strip())


def _cross_checks(config: ExperimentConfig) -> Iterable[Fault]:
    training = config.training
    for key, most in (("evaluation_batch_size", MAX_IMAGES_AT_ONCE), ("threads", MAX_THREADS)):
        value = getattr(training, key)
        if isinstance(value, int) and not 1 <= value <= most:
            bound = "at least 1" if value < 1 else f"at most {most:,}"
            yield Fault(f"training.{key}", f"must be {bound}, or auto")
    if training.accumulation > training.batch_size:
        yield Fault("training.accumulation", f"cannot split a batch of {training.batch_size}; lower it")
    yield from _rank_checks(config)
    optimizer = config.optimizer
    if getattr(optimizer, "nesterov", False) and getattr(optimizer, "momentum", 1) == 0:
        yield Fault("optimizer.nesterov", "needs a momentum above 0; set optimizer.momentum, or nesterov=false")
    yield from config.data.faults()
    if config.schedule.warmup_epochs >= training.epochs:
        yield Fault("schedule.warmup_epochs", f"must be below training.epochs ({training.epochs})")


def _rank_checks(config: ExperimentConfig) -> Iterable[Fault]:
    training, ranks = config.training, ranks_of(config)
    devices = devices_of(training.device)
    if len(set(devices)) < len(devices) and devices[0] != "cpu":
        yield Fault("training.device", f"'{training.device}' names a GPU twice; name each once")
    if ranks > MAX_RANKS:
        yield Fault("training.device", f"needs {ranks} processes, more than {MAX_RANKS}; name fewer devices")
    if ranks > training.batch_size:
        yield Fault(
            "training.batch_size", f"{ranks} devices share a batch, which must be at least that large; raise it"
        )


def _fault(error: ErrorDetails, content: Mapping[str, Any]) -> Fault:
    """One pydantic error as a fault: the union's tag leaves the path, and the message names the fix."""
    path = [str(part) for part in error["loc"]]
    section = path[0] if path else ""
    table = SECTIONS.get(section)
    if table and len(path) > 1 and path[1] in table.entries:
        del path[1]
    path = [part for part in path if part not in ("int", "str", "bool", "literal['auto']")]
    return Fault(".".join(path), _explained(error, path, _choice(content, section)))


def _merged(faults: Iterable[Fault]) -> list[Fault]:
    """One fault per setting: a value that is neither an integer nor `auto` gives two pydantic errors."""
    by_path: dict[str, list[str]] = {}
    for fault in faults:
        by_path.setdefault(fault.path, []).append(fault.message)
    return [Fault(path, "; or it ".join(messages)) for path, messages in by_path.items()]


def _choice(content: Mapping[str, Any], section: str) -> str:
    values = content.get(section)
    return str(cast("Mapping[str, Any]", values).get("name", "")) if isinstance(values, Mapping) else ""


def _explained(error: ErrorDetails, path: list[str], choice: str) -> str:
    section = path[0] if path else ""
    table = SECTIONS.get(section)
    match error["type"]:
        case "extra_forbidden" if len(path) == 1:
            return f"no section named '{section}'; {nearest(section, SECTIONS)}"
        case "extra_forbidden":
            of = f" of {section} '{choice}'" if choice else ""
            return f"no such setting{of}; {nearest(path[-1], setting_names(section, choice))}"
        case "union_tag_invalid" if table:
            return f"no {table.kind} named '{choice}'; {nearest(choice, table.names())}"
        case "union_tag_not_found" if table:
            return f"name is missing; choose one of: {', '.join(table.names())}"
        case "missing":
            return "is missing; set it"
        case "finite_number":
            return "must be a finite number"
        case "string_pattern_mismatch" if str(error["input"]).partition(":")[0] in ("mps", "xpu", "hip", "rocm", "tpu"):
            return f"'{error['input']}' is not supported: use cpu, or cuda for a GPU of NVIDIA, or of AMD with ROCm"
        case "string_pattern_mismatch":
            return f"'{error['input']}' is not auto, cpu, cuda, cuda:N, or for several devices cuda:0,1 or cpu:2"
        case _:
            message = error["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
            return f"{message}, not {_shown(error['input'])}"


def _shown(value: Any) -> str:
    return shortened(repr(value) if not isinstance(value, float) or math.isfinite(value) else str(value))


def setting_names(section: str, choice: str = "") -> list[str]:
    """The names of the settings of a section, or of one choice where the section has choices."""
    table = SECTIONS.get(section)
    if table is None:
        return list(TrainingOptions.model_fields)
    return list(table.entries[choice].options.model_fields) if choice in table.entries else ["name"]
