"""The optimizers and learning-rate schedules to choose from, with their options; torch is loaded when one is built."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ..utils.registry import Entry, NamedOptions, Table


class OptimizerOptions(NamedOptions):
    """Options that every optimizer has."""

    lr: float = Field(default=0.001, gt=0, le=100, description="Learning rate, before the schedule scales it")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Weight decay")


class LayeredOptions(OptimizerOptions):
    """Options of optimizers whose learning rate may differ between the layers of a network."""

    later: ClassVar[frozenset[str]] = frozenset({"backbone_lr", "layer_decay"})

    backbone_lr: float = Field(
        default=1.0, gt=0, le=1, description="Factor of the learning rate of all but the last layer"
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="Factor of the learning rate from each block to the one before it"
    )


class SgdOptions(LayeredOptions):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.01, gt=0, le=100, description="Learning rate, before the schedule scales it")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum")
    nesterov: bool = Field(default=False, description="Nesterov momentum (needs a momentum above 0)")


class AdamOptions(LayeredOptions):
    """Adam (Kingma and Ba 2014); weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay of the gradient's running mean")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Decay of the squared gradient's running mean")
    eps: float = Field(default=1e-8, gt=0, le=1, description="Added to the denominator, so that it is never 0")


class AdamWOptions(LayeredOptions):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017)."""

    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="Weight decay, decoupled from the gradient")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Decay of the gradient's running mean")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Decay of the squared gradient's running mean")
    eps: float = Field(default=1e-8, gt=0, le=1, description="Added to the denominator, so that it is never 0")


class MuonOptions(OptimizerOptions):
    """Muon for filters and hidden matrices (Jordan et al. 2024), SGD for the rest."""

    name: Literal["muon"] = "muon"
    lr: float = Field(default=0.02, gt=0, le=100, description="Learning rate of filters and hidden matrices")
    momentum: float = Field(default=0.6, ge=0, lt=1, description="Momentum (Nesterov)")
    iterations: int = Field(default=3, ge=1, le=10, description="Newton-Schulz iterations that orthogonalise an update")
    normalize: bool = Field(default=False, description="Scale each filter bank to a fixed norm; batch norm must follow")
    last_lr: float = Field(default=0.1, gt=0, le=10_000, description="Learning rate of the last layer (SGD)")
    bias_lr: float = Field(default=0.1, gt=0, le=10_000, description="Learning rate of biases and scales (SGD)")
    other_momentum: float = Field(default=0.85, ge=0, lt=1, description="Momentum of the parameters that SGD updates")
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the weights that each step subtracts at the full learning rate",
    )


class ScheduleOptions(NamedOptions):
    """Options that every schedule has."""

    warmup_epochs: float = Field(default=0.0, ge=0, description="Epochs of linear warm-up to the learning rate")


class ConstantOptions(ScheduleOptions):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


class CosineOptions(ScheduleOptions):
    """Half a cosine from the learning rate down (Loshchilov and Hutter 2016)."""

    name: Literal["cosine"] = "cosine"
    epochs: int = Field(
        default=0, ge=0, le=100_000, description="Epochs until the end of the curve; 0 = training.epochs"
    )
    final: float = Field(default=0.0, ge=0, le=1, description="Share of the learning rate at the end")
    per: Literal["epoch", "step"] = Field(default="epoch", description="Change after each epoch or each step")


class StepOptions(ScheduleOptions):
    """The learning rate is multiplied by a factor every few epochs."""

    name: Literal["step"] = "step"
    every: int = Field(default=30, ge=1, le=100_000, description="Epochs between two reductions")
    factor: float = Field(default=0.1, gt=0, le=1, description="Factor of each reduction")


class OneCycleOptions(ScheduleOptions):
    """Up to the learning rate, then down to almost nothing, changed each step (Smith and Topin 2017)."""

    name: Literal["one-cycle"] = "one-cycle"
    rise: float = Field(default=0.3, gt=0, lt=1, description="Share of the run in which the rate rises")
    initial: float = Field(default=0.04, gt=0, le=1, description="Share of the learning rate at the start")
    final: float = Field(default=0.000004, ge=0, le=1, description="Share of the learning rate at the end")


class TriangularOptions(ScheduleOptions):
    """Straight up to the learning rate, then straight down, changed each step."""

    name: Literal["triangular"] = "triangular"
    rise: float = Field(default=0.2, ge=0, lt=1, description="Share of the run in which the rate rises")
    initial: float = Field(default=0.2, ge=0, le=1, description="Share of the learning rate at the start")
    final: float = Field(default=0.0, ge=0, le=1, description="Share of the learning rate at the end")


class PlateauOptions(ScheduleOptions):
    """The learning rate is multiplied by a factor when the watched metric no longer improves."""

    name: Literal["plateau"] = "plateau"
    factor: float = Field(default=0.1, gt=0, lt=1, description="Factor of each reduction")
    patience: int = Field(default=5, ge=0, le=100_000, description="Epochs without improvement before a reduction")


OPTIMIZERS = Table(
    "optimizer",
    {
        "sgd": Entry(SgdOptions, "torchdeck.core.optim.optimizers:sgd"),
        "adam": Entry(AdamOptions, "torchdeck.core.optim.optimizers:adam"),
        "adamw": Entry(AdamWOptions, "torchdeck.core.optim.optimizers:adamw"),
        "muon": Entry(MuonOptions, "torchdeck.core.optim.optimizers:muon"),
    },
)
SCHEDULES = Table(
    "schedule",
    {
        "constant": Entry(ConstantOptions, "torchdeck.core.optim.schedules:constant"),
        "cosine": Entry(CosineOptions, "torchdeck.core.optim.schedules:cosine"),
        "step": Entry(StepOptions, "torchdeck.core.optim.schedules:step"),
        "one-cycle": Entry(OneCycleOptions, "torchdeck.core.optim.schedules:one_cycle"),
        "triangular": Entry(TriangularOptions, "torchdeck.core.optim.schedules:triangular"),
        "plateau": Entry(PlateauOptions, "torchdeck.core.optim.schedules:plateau"),
    },
)
