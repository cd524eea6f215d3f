import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from torchdeck.core.data.image_spec import ImageSpec
from torchdeck.core.errors import ConfigError
from torchdeck.core.models import MODELS, ModelOptions, build
from torchdeck.core.models.whitening import Whitening
from torchdeck.core.training.layers import describe_network

CIFAR = ImageSpec(3, 32, 32, 10)
MNIST = ImageSpec(1, 28, 28, 10)

ROWS: list[tuple[str, dict[str, Any], int, float]] = [
    ("lenet", {}, 62_006, 1.30),
    ("lenet", {"dropout": 0.5}, 62_006, 1.30),
    ("resnet9", {}, 4_829_258, 355.9),
    ("resnet18", {}, 11_173_962, 1110.85),
    ("resnet34-mnist", {"extra_bn": False}, 21_280_970, 519.8),
    ("resnet34-mnist", {}, 21_286_602, 519.8),
    ("resnet34-mnist", {"extra_bn": False, "stem": 7}, 21_283_530, 139.3),
    ("basic-cnn", {}, 1_147_466, 22.8),
    ("improved-cnn", {}, 12_906_250, 1077.3),
    ("residual-cnn", {}, 2_816_074, 842.5),
    ("vgg-a", {}, 9_750_922, 306.6),
    ("vgg-a-bn", {}, 9_756_426, 306.6),
    ("wrn-28-10", {}, 36_479_194, 10486.7),
    ("airbench", {"whitening": 2}, 1_972_792, 236.3),
]


def spec_of(name: str) -> ImageSpec:
    return MNIST if name == "resnet34-mnist" else CIFAR


def made(name: str, spec: ImageSpec, device: str = "meta", **options: Any) -> nn.Module:
    with torch.device(device):
        return build(MODELS.options(name)(name=name, **options), spec)


@pytest.mark.parametrize(("name", "options", "parameters", "mflop"), ROWS)
def test_a_model_has_the_reported_size_and_work(name: str, options: Any, parameters: int, mflop: float) -> None:
    spec = spec_of(name)
    model = made(name, spec, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert sum(layer.flops for layer in describe_network(model, spec).layers) / 1e6 == pytest.approx(mflop, abs=0.051)


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("spec", [CIFAR, ImageSpec(1, 32, 32, 3), ImageSpec(1, 64, 48, 7)])
def test_a_model_fits_other_images_and_classes(name: str, spec: ImageSpec) -> None:
    model = made(name, spec)
    images = torch.empty(2, spec.channels, spec.height, spec.width, device="meta")
    assert model(images).shape == (2, spec.classes)


@pytest.mark.parametrize("name", MODELS.names())
def test_the_smallest_size_works_and_one_pixel_less_is_refused(name: str) -> None:
    smallest = MODELS.options(name).smallest if issubclass(MODELS.options(name), ModelOptions) else 1
    model = made(name, ImageSpec(3, smallest, smallest, 10)).eval()
    assert model(torch.empty(2, 3, smallest, smallest, device="meta")).shape == (2, 10)
    if smallest > 1:
        with pytest.raises(ConfigError, match=f"set data.size to {smallest} or more"):
            made(name, ImageSpec(3, smallest - 1, smallest - 1, 10))


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("lenet", {}),
        ("improved-cnn", {}),
        ("resnet34-mnist", {}),
        ("wrn-28-10", {"depth": 10, "widen_factor": 1}),
    ],
)
def test_dropout_varies_the_output_in_training_only(name: str, small: dict[str, Any]) -> None:
    torch.manual_seed(0)
    spec = spec_of(name)
    images = torch.randn(4, spec.channels, spec.height, spec.width)
    model = made(name, spec, "cpu", dropout=0.5, **small)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
    without = made(name, spec, "cpu", dropout=0.0, **small)
    assert torch.equal(without(images), without(images))


def test_depth_and_width_of_a_wide_resnet_count() -> None:
    deep = made("wrn-28-10", CIFAR, depth=16, widen_factor=4)
    assert sum(parameter.numel() for parameter in deep.parameters()) == 2_748_890
    with pytest.raises(ValueError, match="6n"):
        MODELS.options("wrn-28-10")(name="wrn-28-10", depth=20)


def test_options_load_no_torch() -> None:
    code = "import sys, torchdeck.core.models; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", [name for name in MODELS.names() if issubclass(MODELS.options(name), ModelOptions)])
def test_every_own_model_can_stand_behind_whitening(name: str) -> None:
    smallest = MODELS.options(name).smallest + 1
    model = made(name, ImageSpec(1, smallest, smallest, 5), whitening=2).eval()
    assert model(torch.empty(2, 1, smallest, smallest, device="meta")).shape == (2, 5)


def test_whitened_patches_are_uncorrelated_with_unit_variance() -> None:
    torch.manual_seed(0)
    images = nn.functional.avg_pool2d(torch.randn(400, 3, 16, 16), 3, 1, padding=1)
    layer = Whitening(3, 2)
    layer.fit(images)
    seen = layer(images)[:, :12].permute(0, 2, 3, 1).reshape(-1, 12)
    covariance = seen.mT @ seen / len(seen)
    assert float((covariance - covariance.diagonal().diag()).detach().abs().max()) < 1e-3
    assert 0.9 < float(covariance.detach().diagonal().min()) < float(covariance.detach().diagonal().max()) < 1.01
    torch.testing.assert_close(layer(images)[:, 12:], -layer(images)[:, :12])


@pytest.mark.parametrize("residual", [False, True])
def test_airbench_begins_by_handing_its_images_on(residual: bool) -> None:
    torch.manual_seed(0)
    options = MODELS.options("airbench")(name="airbench", width1=8, width2=16, width3=16, depth=3, residual=residual)
    model = build(options, ImageSpec(4, 16, 16, 10))
    first = model[0].first[0]
    images = torch.randn(2, 4, 16, 16)
    torch.testing.assert_close(first(images)[:, :4], images)
    assert model(images).shape == (2, 10)
    assert not model[0].first[2].weight.requires_grad
