"""Augmentation drawn in the plan and done on the device: crops, rotation, colours, erasing, like torchvision's."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from pictures import image_folder, write_classes
from PIL import Image
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as torchvision

from torchdeck.core.config import config_hash, parse_config, parse_data
from torchdeck.core.data import DataOptions, open_dataset
from torchdeck.core.data.batches import augmentation_of, open_batches
from torchdeck.core.data.color import COLORS, recolored
from torchdeck.core.data.dataset import Split
from torchdeck.core.data.epoch_plan import epoch_plan
from torchdeck.core.data.geometry import sample
from torchdeck.core.data.index_plan import Shard
from torchdeck.core.data.prepare import prepare
from torchdeck.core.data.preview import preview
from torchdeck.core.utils.generators import run_to_end

CPU = torch.device("cpu")
PLAIN: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
"""Normalisation that leaves pixels from 0 to 255."""


def options(**settings: object) -> DataOptions:
    texts = [f"data.{key}={str(value).lower()}" for key, value in {"size": 16, **settings}.items()]
    return parse_data("synthetic", texts)


def noise(count: int, side: int, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in coarse]
    return Split(np.stack(large).transpose(0, 3, 1, 2), random.integers(0, 5, count))


def epoch(split: Split, data: DataOptions, *, streamed: bool = False, first: int = 0, **more: Any) -> list[Tensor]:
    asked = augmentation_of(data)
    batches = open_batches(split, device=CPU, streamed=streamed, augmentation=asked, **PLAIN, **more)
    return [images for images, _ in batches.train(epoch_plan(len(batches), 1, 1, data), 10, first)]


EVERYTHING = [
    {"crop": "random-resized", "flip": True, "auto_augment": "trivial", "erasing": 0.5},
    {"crop": "random-resized", "cache_side": 40, "rotation": 20, "color_jitter": 0.4, "crop_fill": "reflect"},
    {"crop_padding": 2, "flip": "alternating", "auto_augment": "rand", "cutout": 3, "jitter": 0.1},
    {"auto_augment": "auto", "crop": "none"},
    {"color_jitter": 0.5, "flip": True, "erasing": 1},
]


@pytest.mark.parametrize("settings", EVERYTHING)
def test_resident_streamed_resumed_and_shared_batches_are_the_same_bits(settings: dict[str, Any]) -> None:
    data = options(**settings)
    split = noise(37, data.stored_sides[0])
    resident = epoch(split, data)
    assert resident[0].shape == (10, 3, 16, 16)
    for one, other in zip(resident, epoch(split, data, streamed=True), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(resident[2:], epoch(split, data, first=2), strict=True):
        assert torch.equal(one, other)
    ranks = [epoch(split, data, shard=Shard(rank, 3), streamed=rank == 1) for rank in range(3)]
    for whole, *parts in zip(resident, *ranks, strict=True):
        assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("settings", EVERYTHING)
def test_raw_batches_make_the_same_images(settings: dict[str, Any]) -> None:
    data = options(**settings)
    split = noise(37, data.stored_sides[0])
    for streamed in (False, True):
        batches = open_batches(split, device=CPU, streamed=streamed, augmentation=augmentation_of(data), **PLAIN)
        raw = batches.raw(epoch_plan(37, 1, 1, data), 10)
        for one, expected in zip(raw, epoch(split, data), strict=True):
            assert torch.equal(batches.images(one), expected)


def test_sampling_whole_pixels_is_the_padded_crop() -> None:
    split = noise(40, 16)
    cut, asked = options(crop_padding=3, flip=True), options(crop_padding=3, flip=True, rotation=1e-9)
    plan = epoch_plan(40, 1, 1, asked)
    assert plan.maps is not None
    pixels = torch.from_numpy(split.images).permute(0, 2, 3, 1)
    shown = sample(pixels, plan.order, plan.maps, (16, 16), reflect=False)
    centre = plan.maps[:, [2, 5]].round().long() - 8
    flip = plan.maps[:, 0] < 0
    padded = torch.nn.functional.pad(torch.from_numpy(split.images), (3, 3, 3, 3))
    for place, index in enumerate(plan.order.tolist()):
        left, top = (centre[place] + 3).tolist()
        expected = padded[index, :, top : top + 16, left : left + 16]
        expected = expected.flip(2) if flip[place] else expected
        assert torch.equal(shown[place].permute(2, 0, 1), expected)
    assert set(centre.flatten().tolist()) == set(range(-3, 4))
    assert epoch_plan(40, 1, 1, cut).maps is None


@pytest.mark.parametrize("size", [224, 128, 96])
def test_random_resized_crops_of_a_photograph_are_close_to_torchvision_s_antialiased_ones(size: int) -> None:
    file = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    image = torch.from_numpy(np.array(Image.open(file).convert("RGB")))
    boxes = epoch_plan(24, 1, 1, options(size=512, crop="random-resized")).maps
    assert boxes is not None
    wide, high = boxes[:, 0].round(), boxes[:, 4].round()
    left, top = (boxes[:, 2] - wide / 2).round().clamp(min=0), (boxes[:, 5] - high / 2).round().clamp(min=0)
    zero = torch.zeros_like(wide)
    maps = torch.stack([wide, zero, left + wide / 2, zero, high, top + high / 2], 1)
    shown = sample(image.expand(24, *image.shape), None, maps, (size, size), reflect=False).permute(0, 3, 1, 2)
    differences: list[Tensor] = []
    for place, box in enumerate(torch.stack([top, left, high, wide], 1).int().tolist()):
        expected = torchvision.resized_crop(image.permute(2, 0, 1), *box, [size, size], antialias=True)
        differences.append((expected.float() - shown[place]).abs().mean())
    assert torch.stack(differences).mean() <= 3


def test_boxes_have_the_area_and_shape_that_was_asked_for() -> None:
    data = options(crop="random-resized", crop_scale=0.3, crop_ratio=1.5, cache_side=32)
    maps = epoch_plan(5000, 1, 1, data).maps
    assert maps is not None
    wide, high = maps[:, 0] / 32, maps[:, 4] / 32
    left, top = maps[:, 2] / 32 - wide / 2, maps[:, 5] / 32 - high / 2
    assert float((wide * high).min()) >= 0.299
    drawn = [RandomResizedCrop.get_params(torch.empty(3, 500, 500), [0.3, 1], [1 / 1.5, 1.5]) for _ in range(2000)]
    theirs = np.mean([box[2] * box[3] / 250_000 for box in drawn])
    assert abs(float((wide * high).mean()) - theirs) < 0.02
    assert 1.49 < float((wide / high).max()) < 1.51
    assert float(torch.stack([left, top]).min()) >= -1e-6
    assert float(torch.stack([left + wide, top + high]).max()) <= 1 + 1e-6


THEIRS = {
    "Brightness": torchvision.adjust_brightness,
    "Color": torchvision.adjust_saturation,
    "Contrast": torchvision.adjust_contrast,
    "Sharpness": torchvision.adjust_sharpness,
    "Posterize": torchvision.posterize,
    "Solarize": lambda image, strength: torchvision.solarize(image, strength * 255),
    "AutoContrast": lambda image, _: torchvision.autocontrast(image),
    "Equalize": lambda image, _: torchvision.equalize(image),
    "Invert": lambda image, _: torchvision.invert(image),
}


@pytest.mark.parametrize("number", range(1, len(COLORS) + 1))
def test_colours_are_those_of_torchvision(number: int) -> None:
    name = list(COLORS)[number - 1]
    strength = {"Posterize": 3.0, "Solarize": 0.4}.get(name, 1.6)
    images = torch.from_numpy(noise(9, 20).images) // 2 + 30
    chosen = torch.tensor([number, 0, number] * 3)[:, None]
    shown = recolored(images.permute(0, 2, 3, 1), chosen, torch.full((9, 1), strength)).permute(0, 3, 1, 2)
    given = int(strength) if name == "Posterize" else strength
    for place in range(9):
        expected = THEIRS[name](images[place], given) if chosen[place] else images[place]
        assert int((shown[place].int() - expected.int()).abs().max()) <= 1


def test_rotation_turns_the_centre_and_fills_corners() -> None:
    split = Split(np.full((200, 3, 16, 16), 200, np.uint8), np.zeros(200, np.int64))
    black = torch.cat(epoch(split, options(rotation=45)))
    assert float(black[:, :, 8, 8].min()) == 200
    assert float(black[:, :, 0, 0].min()) == 0
    assert float(torch.cat(epoch(split, options(rotation=45, crop_fill="reflect"))).min()) == 200


def test_erasing_blanks_a_share_of_the_images() -> None:
    split = Split(np.full((400, 3, 16, 16), 200, np.uint8), np.zeros(400, np.int64))
    blank = (torch.cat(epoch(split, options(erasing=0.5))) == 0).all(1).float().mean((1, 2))
    assert 0.4 < float((blank > 0).float().mean()) < 0.6
    assert 0.01 < float(blank[blank > 0].min()) < float(blank.max()) < 0.36


@pytest.mark.parametrize("kind", ["trivial", "rand", "auto"])
def test_automatic_augmentation_uses_all_of_its_operations(kind: str) -> None:
    plan = epoch_plan(3000, 1, 1, options(auto_augment=kind))
    assert plan.operations is not None
    used = set(plan.operations.flatten().tolist())
    # AutoAugment's policies for ImageNet never change the brightness; the others never invert.
    assert used == ({0, *range(2, 10)} if kind == "auto" else set(range(9)))
    assert plan.maps is not None
    assert 0.1 < float((plan.maps[:, [1, 3]].abs() > 1e-6).any(1).float().mean()) < 0.9


def test_larger_images_are_stored_and_the_centre_is_evaluated(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    prepared = {
        crop: run_to_end(prepare(image_folder(tmp_path / "photos", size=14, crop=crop), 1, streamed=False))
        for crop in ("none", "random-resized", "center")
    }
    assert prepared["none"].train.images.shape[2:] == (14, 14)
    assert prepared["random-resized"].train.images.shape[2:] == (16, 16)
    assert prepared["center"].train.images.shape[2:] == (14, 14)
    larger = prepared["random-resized"].train.images[:, :, 1:15, 1:15]
    assert np.array_equal(prepared["center"].train.images, larger)
    for crop in ("random-resized", "center"):
        assert prepared[crop].test.images.shape[2:] == (14, 14)
        assert prepared[crop].spec.height == 14


def test_settings_at_their_defaults_leave_the_hash_as_it_was() -> None:
    content = {"data": {"name": "cifar10"}, "model": {"name": "lenet"}, "optimizer": {"name": "sgd"}}
    plain = config_hash(parse_config(content))
    stated = {**content["data"], "crop": "pad", "rotation": 0.0, "auto_augment": "none", "erasing": 0.0}
    assert config_hash(parse_config({**content, "data": stated})) == plain
    assert config_hash(parse_config({**content, "data": {**stated, "erasing": 0.1}})) != plain


def test_a_preview_shows_the_first_images_of_an_epoch(tmp_path: Path) -> None:
    data = options(crop="random-resized", train_images=20, jitter=0.0)
    shown = run_to_end(preview(open_dataset(data, tmp_path), 1, 12))
    prepared = run_to_end(prepare(open_dataset(data, tmp_path), 1, streamed=False))
    expected = epoch(prepared.train, data)[0].byte().numpy()
    assert shown.images.shape == (12, 3, 16, 16)
    assert np.array_equal(shown.images[:10], expected)
    labels = prepared.train.labels[epoch_plan(20, 1, 1, data).order.numpy()]
    assert shown.classes == tuple(prepared.class_names[label] for label in labels[:12])
