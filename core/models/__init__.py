"""The models to choose from, with their options; torch is loaded when one is built."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from ..data.image_spec import ImageSpec
from ..errors import ConfigError, Fault, nearest
from ..utils.registry import Entry, NamedOptions, Table
from .torchvision_names import SYMMETRIC, WEIGHTS

if TYPE_CHECKING:
    from torch import nn

    from .weights import Source


class ModelOptions(NamedOptions):
    """Options that every one of Torchdeck's own models has."""

    smallest: ClassVar[int] = 1
    """Smallest image side in pixels: a smaller image would be pooled to nothing."""
    whitening: int = Field(
        default=0, ge=0, le=5, description="Patch side of a fixed first layer that whitens the images; 0 = none"
    )


class LeNetOptions(ModelOptions):
    """LeNet-5 in its modern form (LeCun et al. 1998)."""

    smallest: ClassVar[int] = 16
    name: Literal["lenet"] = "lenet"
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout after the first two fully connected layers")


class ResNet9Options(ModelOptions):
    """Three residual blocks (after He et al. 2015)."""

    smallest: ClassVar[int] = 25
    name: Literal["resnet9"] = "resnet9"


class ResNet18Options(ModelOptions):
    """ResNet-18 with a stem for small images (He et al. 2015)."""

    name: Literal["resnet18"] = "resnet18"


class ResNet34MnistOptions(ModelOptions):
    """ResNet-34 as the MNIST report builds it (He et al. 2015)."""

    name: Literal["resnet34-mnist"] = "resnet34-mnist"
    stem: Literal[3, 7] = Field(default=3, description="Kernel of the first convolution: 3 (stride 1) or 7 (stride 2)")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout before the last layer")
    extra_bn: bool = Field(default=True, description="Another batch norm after every block but the first of a stage")


class BasicCnnOptions(ModelOptions):
    """Three convolutions and two fully connected layers."""

    smallest: ClassVar[int] = 8
    name: Literal["basic-cnn"] = "basic-cnn"


class ImprovedCnnOptions(ModelOptions):
    """Six convolutions with batch norm, and dropout before the last layer."""

    smallest: ClassVar[int] = 8
    name: Literal["improved-cnn"] = "improved-cnn"
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout before the last layer")


class ResidualCnnOptions(ModelOptions):
    """Three stages of two residual blocks (after He et al. 2015)."""

    smallest: ClassVar[int] = 5
    name: Literal["residual-cnn"] = "residual-cnn"


class VggAOptions(ModelOptions):
    """VGG-A for small images (Simonyan and Zisserman 2014)."""

    smallest: ClassVar[int] = 32
    name: Literal["vgg-a"] = "vgg-a"


class VggABnOptions(ModelOptions):
    """VGG-A with batch norm (Simonyan and Zisserman 2014)."""

    smallest: ClassVar[int] = 32
    name: Literal["vgg-a-bn"] = "vgg-a-bn"


def _six_blocks(depth: int) -> int:
    if depth % 6 != 4:
        raise ValueError("must be 6n + 4, such as 16, 22, 28 or 40")
    return depth


class WideResNetOptions(ModelOptions):
    """WideResNet (Zagoruyko and Komodakis 2016)."""

    name: Literal["wrn-28-10"] = "wrn-28-10"
    depth: Annotated[int, AfterValidator(_six_blocks)] = Field(
        default=28, ge=10, le=1000, description="Layers, 6n + 4: n blocks in each of three stages"
    )
    widen_factor: int = Field(default=10, ge=1, le=64, description="Factor of the widths 16, 32 and 64")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout inside each block")


class AirbenchOptions(ModelOptions):
    """The small network of the CIFAR-10 speed records (Jordan 2024); meant to be used with whitening."""

    smallest: ClassVar[int] = 8
    name: Literal["airbench"] = "airbench"
    width1: int = Field(default=64, ge=1, le=4096, description="Channels of the first group")
    width2: int = Field(default=256, ge=1, le=4096, description="Channels of the second group")
    width3: int = Field(default=256, ge=1, le=4096, description="Channels of the third group")
    depth: int = Field(default=2, ge=2, le=16, description="Convolutions in each group")
    residual: bool = Field(default=False, description="A shortcut around each group's convolutions but the first")
    activation: Literal["gelu", "silu", "relu"] = Field(default="gelu", description="Activation function")
    scale: float = Field(default=1 / 9, gt=0, le=10, description="Factor of the logits")


class LibraryOptions(NamedOptions):
    """Options of networks that come from a library: Torchdeck learns their shapes by tracing them."""

    arch: str = Field(default="", description="Architecture")
    weights: str = Field(
        default="none",
        min_length=1,
        description="Pretrained weights: none, default, their name, or a .safetensors or .pt file; data.size,"
        " data.resize and data.normalization then follow them unless set",
    )
    freeze: Literal["none", "backbone", "batch-norm"] = Field(
        default="none",
        description="What keeps its weights and running statistics: all but the last layer, or batch norm",
    )
    dropout: float | Literal["default"] = Field(
        default="default",
        description="Dropout from 0 to below 1, for networks that have it; default: the network's own",
    )

    def preprocessing(self) -> dict[str, Any]:
        """The data settings that the pretrained weights are meant for; empty without weights."""
        return {}

    @field_validator("dropout")
    @classmethod
    def _share(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 <= value < 1:
            raise ValueError("must be default, or at least 0 and below 1")
        return value


def _torchvision_arch(value: str) -> str:
    if value not in WEIGHTS:
        raise ValueError(f"torchvision has no classifier '{value}'; {nearest(value, WEIGHTS)}")
    return value


class TorchvisionOptions(LibraryOptions):
    """A classifier of torchvision, from random or pretrained weights, with a last layer for the classes at hand."""

    name: Literal["torchvision"] = "torchvision"
    arch: Annotated[str, AfterValidator(_torchvision_arch), WithJsonSchema({"enum": [*WEIGHTS]})] = Field(
        default="resnet50", description="Architecture"
    )

    @property
    def weights_name(self) -> str:
        """The name of the library's weights; "" for none or for a file."""
        names = WEIGHTS[self.arch]
        return next(iter(names)) if self.weights == "default" else self.weights if self.weights in names else ""

    def preprocessing(self) -> dict[str, Any]:
        if self.weights == "none":
            return {}
        sides = WEIGHTS[self.arch]
        pair = "symmetric" if self.arch in SYMMETRIC else "imagenet"
        side = sides.get(self.weights_name, next(iter(sides.values())))
        return {"size": side, "resize": "shorter-side", "normalization": pair}

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, value: str, info: ValidationInfo) -> str:
        arch = str(info.data.get("arch", ""))
        names = [*WEIGHTS.get(arch, ()), "default", "none"]
        if arch and value not in names and not is_file_name(value):
            raise ValueError(
                f"{arch} has no such weights, and it is no .safetensors or .pt file; {nearest(value, names)}"
            )
        return value


WEIGHT_FILES = (".safetensors", ".pt", ".pth")


def is_file_name(text: str) -> bool:
    """Whether a text names a file of weights, by its ending."""
    return text.endswith(WEIGHT_FILES)


MODELS = Table(
    "model",
    {
        "lenet": Entry(LeNetOptions, "torchdeck.core.models.lenet:lenet"),
        "resnet9": Entry(ResNet9Options, "torchdeck.core.models.resnet:resnet9"),
        "resnet18": Entry(ResNet18Options, "torchdeck.core.models.resnet:resnet18"),
        "resnet34-mnist": Entry(ResNet34MnistOptions, "torchdeck.core.models.resnet:resnet34_mnist"),
        "basic-cnn": Entry(BasicCnnOptions, "torchdeck.core.models.cnn:basic_cnn"),
        "improved-cnn": Entry(ImprovedCnnOptions, "torchdeck.core.models.cnn:improved_cnn"),
        "residual-cnn": Entry(ResidualCnnOptions, "torchdeck.core.models.resnet:residual_cnn"),
        "vgg-a": Entry(VggAOptions, "torchdeck.core.models.vgg:vgg_a"),
        "vgg-a-bn": Entry(VggABnOptions, "torchdeck.core.models.vgg:vgg_a_bn"),
        "airbench": Entry(AirbenchOptions, "torchdeck.core.models.airbench:airbench"),
        "wrn-28-10": Entry(WideResNetOptions, "torchdeck.core.models.wide_resnet:wide_resnet"),
        "torchvision": Entry(TorchvisionOptions, "torchdeck.core.models.torchvision_networks:network"),
    },
)


def check_size(options: NamedOptions, spec: ImageSpec) -> None:
    """Check that the images are large enough for the model.

    Raises:
        ConfigError: they are too small; the message names the smallest size that works.
    """
    smallest = options.smallest + max(0, _whitening(options) - 1) if isinstance(options, ModelOptions) else 1
    if min(spec.height, spec.width) < smallest:
        message = f"'{options.name}' cannot take {spec.height}x{spec.width} images; set data.size to {smallest} or more"
        raise ConfigError([Fault("model.name", message)])


def build(options: NamedOptions, spec: ImageSpec) -> nn.Module:
    """Build the model of these options for images of this shape: [B, C, H, W] to logits [B, classes].

    Raises:
        ConfigError: the images are too small for the model.
    """
    check_size(options, spec)
    builder, side = MODELS.builder(options.name), _whitening(options)
    if not side:
        return builder(options, spec)
    from torch import nn  # seconds

    from .whitening import Whitening, spec_behind

    return nn.Sequential(Whitening(spec.channels, side), nn.GELU(), builder(options, spec_behind(spec, side)))


def library_weights(options: NamedOptions) -> Source:
    """Where the library of a model has its pretrained weights."""
    module = MODELS.entries[options.name].builder.partition(":")[0]
    return importlib.import_module(module).source(options)


def _whitening(options: NamedOptions) -> int:
    return options.whitening if isinstance(options, ModelOptions) else 0
