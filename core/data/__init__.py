"""The data sets to choose from, with their options; nothing is read before it is needed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from ..errors import Fault
from ..utils.registry import Entry, NamedOptions, Table

if TYPE_CHECKING:
    from .dataset import Dataset

Normalization = Literal["cifar-a", "cifar-b", "mnist", "imagenet", "symmetric", "computed", "none"]
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar-a": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar-b": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "mnist": ((0.1307,), (0.3081,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation per channel, of pixels from 0 to 1."""

MAX_SIDE = 1024
_MOST_PADDING = 64


def _one_side_or_two(value: int | str) -> int | str:
    """Normalise a size: 64x64 becomes 64. Raises ValueError for an invalid one."""
    parts = value.split("x") if isinstance(value, str) else [str(value), str(value)]
    if len(parts) != 2 or not all(part.isdecimal() and 1 <= int(part) <= MAX_SIDE for part in parts):
        raise ValueError(f"must be a side from 1 to {MAX_SIDE}, or HEIGHTxWIDTH of such sides")
    height, width = map(int, parts)
    return height if height == width else f"{height}x{width}"


def _color(value: str) -> str:
    if value not in ("black", "white", "grey") and not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError("must be black, white, grey or #rrggbb")
    return value


def _value_range(value: str) -> str:
    try:
        low, high = (-math.inf, math.inf) if value == "auto" else map(float, value.split(":"))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high or (value != "auto" and math.isinf(high - low)):
        raise ValueError("must be auto or LOW:HIGH, two increasing numbers such as 0:4095")
    return value


_SIDE = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE}
Size = Annotated[
    int | str, AfterValidator(_one_side_or_two), WithJsonSchema({"anyOf": [_SIDE, {"const": "HEIGHTxWIDTH"}]})
]

_SIZE = "Side of the square images in pixels, or HEIGHTxWIDTH such as 96x128; others are resized"
_NORMALIZATION = "Mean and standard deviation: a known pair, computed from the training images, or none"


class DataOptions(NamedOptions):
    """Options that every data set has."""

    later: ClassVar[frozenset[str]] = frozenset(
        {
            *("resize", "background", "crop", "crop_scale", "crop_ratio", "cache_side", "rotation", "color_jitter"),
            *("auto_augment", "auto_augment_operations", "auto_augment_magnitude", "erasing"),
        }
    )
    cache_scale: ClassVar[float] = 1.0
    """Side of the stored images over that of the network's, where geometry needs more and `cache_side` is auto."""

    size: Size = Field(default=32, description=_SIZE)
    resize: Literal["squash", "shorter-side", "letterbox"] = Field(
        default="squash",
        description="How an image of another shape is resized: squash distorts it; shorter-side keeps its shape and"
        " crops the centre; letterbox keeps its shape and fills the rest with data.background",
    )
    background: Annotated[str, AfterValidator(_color)] = Field(
        default="grey",
        description="Colour behind transparent pixels and around a letterbox: black, white, grey or #rrggbb",
    )
    normalization: Normalization = Field(default="computed", description=_NORMALIZATION)
    crop: Literal["none", "pad", "random-resized", "center"] = Field(
        default="pad",
        description="Which part of an image is trained on: all of it; a random crop of the image padded by"
        " crop_padding; a random box resized to the size; or the centre of a larger image",
    )
    crop_scale: float = Field(
        default=0.08, gt=0, le=1, description="Random resized crops: the smallest box, as a share of the image's area"
    )
    crop_ratio: float = Field(
        default=4 / 3, ge=1, le=10, description="Random resized crops: boxes are up to this much wider or higher"
    )
    cache_side: int = Field(
        default=0,
        ge=0,
        le=2 * MAX_SIDE,
        description="Shorter side of the images that random resized and centre crops and rotations are taken from;"
        " 0 = auto: 8/7 of the size for image files",
    )
    crop_padding: int = Field(
        default=0,
        ge=0,
        le=_MOST_PADDING,
        description="Random crops from the image padded by this many pixels; 0 = none",
    )
    crop_fill: Literal["zero", "reflect"] = Field(
        default="zero", description="Padding of random crops: zeros, or the image reflected at its edges"
    )
    flip: bool | Literal["alternating"] = Field(
        default=False,
        description="Mirror each training image with probability 1/2; alternating: every image every other epoch",
    )
    rotation: float = Field(
        default=0.0, ge=0, le=180, description="Rotate each training image by up to this many degrees, either way"
    )
    auto_augment: Literal["none", "trivial", "rand", "auto"] = Field(
        default="none",
        description="Random geometric and colour operations: TrivialAugment, RandAugment or AutoAugment's policies",
    )
    auto_augment_operations: int = Field(default=2, ge=1, le=8, description="RandAugment: operations on each image (n)")
    auto_augment_magnitude: int = Field(
        default=9, ge=0, le=30, description="RandAugment: magnitude of the operations (m)"
    )
    color_jitter: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Random change of brightness, contrast and saturation by up to this share each; 0 = none",
    )
    erasing: float = Field(
        default=0.0, ge=0, le=1, description="Probability of blanking a random box of 2 to 33 % of a training image"
    )
    jitter: float = Field(
        default=0.0, ge=0, lt=1, description="Random change of contrast and brightness of normalised pixels; 0 = none"
    )
    cutout: int = Field(
        default=0, ge=0, le=1024, description="Side of a square blanked in each training image; 0 = none"
    )
    validation: Literal["test", "held-out"] = Field(
        default="test",
        description="What chooses the best epoch where the data set has no validation split of its own: the test split,"
        " or a part of the training split",
    )
    validation_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="Share of the training split held out, the same in each class"
    )
    train_limit: int = Field(default=0, ge=0, description="Train on this many images only; 0 = all")
    test_limit: int = Field(default=0, ge=0, description="Test, and validate, on this many images only; 0 = all")
    source: Literal["auto", "resident", "streamed"] = Field(
        default="auto", description="Keep the images on the device, or stream them; auto: depends on the free memory"
    )
    download: bool = Field(default=True, description="Download the data set if it is missing")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        if isinstance(self.size, int):
            return self.size, self.size
        height, width = map(int, self.size.split("x"))
        return height, width

    @property
    def takes_parts(self) -> bool:
        """Whether images are stored larger than the network sees them."""
        return self.crop in ("random-resized", "center") or self.rotation > 0

    @property
    def is_sampled(self) -> bool:
        """Whether training images are sampled by affine maps, rather than cut out."""
        return self.crop == "random-resized" or self.rotation > 0 or self.auto_augment != "none"

    @property
    def stored_sides(self) -> tuple[int, int]:
        """Height and width of the stored images, in pixels."""
        if not self.takes_parts:
            return self.sides
        shorter = min(self.sides)
        scale = self.cache_side / shorter if self.cache_side else self.cache_scale
        return round(self.sides[0] * scale), round(self.sides[1] * scale)

    def faults(self) -> Iterator[Fault]:
        """Settings that are valid each, but not together."""
        if self.crop_fill == "reflect" and self.crop_padding >= min(self.sides):
            message = f"cannot reflect more than the image; set it below data.size ({self.size})"
            yield Fault("data.crop_padding", message)
        if self.cache_side and not self.takes_parts:
            yield Fault("data.cache_side", "needs data.crop=random-resized or center, or a rotation; set one, or 0")
        elif self.cache_side and self.cache_side < min(self.sides):
            yield Fault("data.cache_side", f"is below data.size ({self.size}); set it to at least that, or to 0")


class DigitsOptions(DataOptions):
    """1,797 handwritten digits that come with Torchdeck."""

    name: Literal["digits"] = "digits"


class MnistOptions(DataOptions):
    """MNIST: 70,000 handwritten digits (LeCun, Cortes, Burges)."""

    name: Literal["mnist"] = "mnist"
    size: Size = Field(default=28, description=_SIZE)
    normalization: Normalization = Field(default="mnist", description=_NORMALIZATION)


class FashionMnistOptions(DataOptions):
    """Fashion-MNIST: 70,000 pieces of clothing (Xiao et al. 2017)."""

    name: Literal["fashion-mnist"] = "fashion-mnist"
    size: Size = Field(default=28, description=_SIZE)


class Cifar10Options(DataOptions):
    """CIFAR-10: 60,000 colour images in 10 classes (Krizhevsky 2009)."""

    name: Literal["cifar10"] = "cifar10"
    normalization: Normalization = Field(default="cifar-a", description=_NORMALIZATION)


class Cifar100Options(DataOptions):
    """CIFAR-100: 60,000 colour images in 100 classes (Krizhevsky 2009)."""

    name: Literal["cifar100"] = "cifar100"


class FileOptions(DataOptions):
    """Options that every data set of image files has."""

    cache_scale: ClassVar[float] = 8 / 7
    later: ClassVar[frozenset[str]] = DataOptions.later | {"on_damage"}

    on_damage: Literal["stop", "skip"] = Field(
        default="stop",
        description="When image files cannot be read: stop before training and name them all, or leave them out",
    )


class TinyImageNetOptions(FileOptions):
    """Tiny ImageNet: colour images in 200 classes; its validation images are the test split."""

    name: Literal["tiny-imagenet"] = "tiny-imagenet"
    size: Size = Field(default=64, description=_SIZE)


class ImageFolderOptions(FileOptions):
    """Your own images: a folder for each class, alone or below train/, val/ and test/; or a list of files as CSV."""

    later: ClassVar[frozenset[str]] = FileOptions.later | {
        *("test_fraction", "value_range", "images", "path_column", "label_column", "split_column")
    }

    name: Literal["image-folder"] = "image-folder"
    path: str = Field(
        default="images",
        min_length=1,
        description="The folder, or a list ending in .csv or .tsv; from the data folder or absolute",
    )
    channels: Literal[1, 3] = Field(default=3, description="1 for grey images, 3 for colour")
    test_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the images that becomes the test split where there is none, by a hash of their paths",
    )
    value_range: Annotated[str, AfterValidator(_value_range)] = Field(
        default="auto",
        description="LOW:HIGH, the values of 16-bit, 32-bit and float images that mean black and white; auto is"
        " 0:65535, and float images are refused",
    )
    images: str = Field(
        default="", description="For a list: the folder that its paths start from; empty = the folder of the list"
    )
    path_column: str = Field(default="path", min_length=1, description="For a list: the column of the image files")
    label_column: str = Field(default="label", min_length=1, description="For a list: the column of the classes")
    split_column: str = Field(
        default="split", min_length=1, description="For a list: the column of train, val and test; it may be absent"
    )


class SyntheticOptions(DataOptions):
    """Synthetic images, a noisy pattern per class, generated from a seed: for tests and timing."""

    name: Literal["synthetic"] = "synthetic"
    classes: int = Field(default=10, ge=2, le=1000, description="Number of classes")
    channels: Literal[1, 3] = Field(default=3, description="1 for grey images, 3 for colour")
    train_images: int = Field(default=1000, ge=2, le=10_000_000, description="Images to train on")
    test_images: int = Field(default=200, ge=1, le=10_000_000, description="Images to test on")
    noise: float = Field(default=0.5, ge=0, le=1, description="Share of noise in each image")


DATASETS = Table(
    "data set",
    {
        "digits": Entry(DigitsOptions, "torchdeck.core.data.digits:Digits"),
        "mnist": Entry(MnistOptions, "torchdeck.core.data.mnist:mnist"),
        "fashion-mnist": Entry(FashionMnistOptions, "torchdeck.core.data.mnist:fashion_mnist"),
        "cifar10": Entry(Cifar10Options, "torchdeck.core.data.cifar:cifar10"),
        "cifar100": Entry(Cifar100Options, "torchdeck.core.data.cifar:cifar100"),
        "tiny-imagenet": Entry(TinyImageNetOptions, "torchdeck.core.data.tiny_imagenet:TinyImageNet"),
        "image-folder": Entry(ImageFolderOptions, "torchdeck.core.data.image_folder:ImageFolder"),
        "synthetic": Entry(SyntheticOptions, "torchdeck.core.data.synthetic:Synthetic"),
    },
)


_OF_STORED_IMAGES = ("crop", "rotation")
"""Augmentation that changes how images are stored, and with the crop what is evaluated."""
_IN_PIXELS = ("crop_padding", "cutout")
AUGMENTATION = (
    *("crop_scale", "crop_ratio", "crop_fill", "flip", "jitter", "color_jitter", "erasing", "auto_augment"),
    *("auto_augment_operations", "auto_augment_magnitude", *_IN_PIXELS),
)
"""Settings of the augmentation that change nothing but the training images."""


def kept_augmentation(before: Mapping[str, Any], name: str, sizes: Sequence[Any]) -> dict[str, Any]:
    """The augmentation in other data settings, for the data set `name`; `sizes` ends with its size, if one is given.

    What is counted in pixels grows with the size, where both are one side.
    """
    if name not in DATASETS.entries or before.get("name") not in DATASETS.entries:
        return {}
    old, new = (
        given or DATASETS.options(of).model_fields["size"].default
        for given, of in ((before.get("size"), str(before["name"])), (sizes[-1] if sizes else None, name))
    )
    scale = new / old if isinstance(old, int) and isinstance(new, int) and old > 0 else 1.0
    kept = {key: before[key] for key in (*_OF_STORED_IMAGES, *AUGMENTATION) if key in before}
    for key in _IN_PIXELS:
        if isinstance(before.get(key), int):
            kept[key] = min(_MOST_PADDING if key == "crop_padding" else MAX_SIDE, round(before[key] * scale))
    return kept


def open_dataset(options: DataOptions, root: Path) -> Dataset:
    """Open the data set of these options below the data folder `root`; its files are read later."""
    return DATASETS.builder(options.name)(options, root)
