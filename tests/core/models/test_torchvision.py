"""Networks of torchvision: names, plans, training, pretrained weights from local files, freezing, learning rates."""

import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_runs import SMALL, changed
from torch import nn
from torchvision import models

from torchdeck.core.config import config_hash, parse_config
from torchdeck.core.data.image_spec import ImageSpec
from torchdeck.core.errors import ConfigError, DataError, InputError
from torchdeck.core.models import TorchvisionOptions, build
from torchdeck.core.models.download import resume_download
from torchdeck.core.models.parts import Freezer, blocks_of, head_of
from torchdeck.core.models.torchvision_names import SYMMETRIC, WEIGHTS
from torchdeck.core.models.weights import Source, fetch, load_weights, read_weights
from torchdeck.core.optim import OPTIMIZERS
from torchdeck.core.training.tracing import trace_network

SMALLEST = "shufflenet_v2_x0_5"
QUICK = (SMALLEST, "resnet18", "regnet_y_400mf", "swin_t", "googlenet")
NEVER_EQUAL = {"googlenet", "inception_v3"}
"""The library counts their auxiliary classifiers."""


def options(arch: str = SMALLEST, **more: Any) -> TorchvisionOptions:
    return TorchvisionOptions(name="torchvision", arch=arch, **more)


def test_the_frozen_names_are_the_librarys() -> None:
    assert list(WEIGHTS) == sorted(models.list_models(module=models))
    for arch, known in WEIGHTS.items():
        found = models.get_model_weights(arch)
        classifiers = {
            each.name: each.transforms().crop_size[0] for each in found if each.name != "IMAGENET1K_FEATURES"
        }
        assert known == classifiers
        assert next(iter(known)) == found.DEFAULT.name
        pair = ((0.5, 0.5, 0.5) if arch in SYMMETRIC else (0.485, 0.456, 0.406), found.DEFAULT.transforms().mean)
        assert tuple(pair[1]) == pair[0]


def plans(arch: str) -> None:
    side = next(iter(WEIGHTS[arch].values()))
    spec = ImageSpec(3, side, side, 1000)
    with torch.device("meta"):
        model = build(options(arch), spec)
    network = trace_network(model, spec, arch)
    facts = models.get_model_weights(arch).DEFAULT.meta
    if arch not in NEVER_EQUAL:
        assert sum(each.numel() for each in model.parameters()) == facts["num_params"]
    assert sum(layer.parameters for layer in network.layers) <= facts["num_params"]
    # The library counts multiply-adds, and not those of every attention.
    assert sum(layer.flops for layer in network.layers) / 2e9 == pytest.approx(facts["_ops"], rel=0.12)
    assert network.saved > 0
    head = head_of(model)
    assert isinstance(head, nn.Linear | nn.Conv2d)
    assert head.weight.shape[0] == 1000


@pytest.mark.parametrize("arch", QUICK)
def test_a_network_plans(arch: str) -> None:
    plans(arch)


@pytest.mark.long
@pytest.mark.parametrize("arch", [arch for arch in WEIGHTS if arch not in QUICK])
def test_every_network_plans(arch: str) -> None:
    plans(arch)


@pytest.mark.parametrize("arch", QUICK)
def test_a_network_trains_on_other_channels_and_classes(arch: str) -> None:
    torch.manual_seed(0)
    model = build(options(arch), ImageSpec(2, 32, 32, 3)).train()
    logits = model(torch.randn(2, 2, 32, 32))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(each.grad is not None for each in head_of(model).parameters())


def test_an_image_that_a_network_cannot_take_is_a_wrong_setting() -> None:
    spec = ImageSpec(3, 16, 16, 4)
    with torch.device("meta"):
        model = build(options("alexnet"), spec)
    with pytest.raises(ConfigError, match=r"alexnet cannot take 16x16 images .* set data.size"):
        trace_network(model, spec, "alexnet")


def config(**settings: Any) -> Any:
    model = {"model.name": "torchvision", "model.arch": SMALLEST}
    return parse_config(changed(SMALL, {**model, **settings}))


def test_size_and_normalisation_follow_the_weights_unless_they_are_set() -> None:
    content = changed(SMALL, {"model.name": "torchvision", "model.arch": "vit_b_16", "model.weights": "default"})
    del content["data"]["size"]
    data = parse_config(content).data
    assert (data.size, data.resize, data.normalization) == (224, "shorter-side", "imagenet")
    data = config(**{"model.weights": "default", "data.size": 64, "data.normalization": "none"}).data
    assert (data.size, data.normalization) == (64, "none")
    assert config().data.normalization == "computed"


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("arch", "resnet19", "did you mean 'resnet18'"),
        ("weights", "IMAGENET1K_V9", "did you mean 'IMAGENET1K_V1'"),
        ("dropout", 1.0, "below 1"),
    ],
)
def test_a_wrong_setting_names_the_fix(setting: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"model.{setting}: .*{message}"):
        config(**{f"model.{setting}": value})


def test_settings_that_came_later_leave_old_hashes_alone() -> None:
    plain = parse_config(SMALL)
    assert "start_from" not in plain.training.identity()
    assert "backbone_lr" not in plain.optimizer.identity()
    assert config_hash(plain) != config_hash(parse_config(changed(SMALL, {"optimizer.backbone_lr": 0.1})))


def test_dropout_is_set_where_the_network_has_it() -> None:
    spec = ImageSpec(3, 64, 64, 4)
    with torch.device("meta"):
        model = build(options("mobilenet_v2", dropout=0.75), spec)
        assert [each.p for each in model.modules() if isinstance(each, nn.Dropout)] == [0.75]
        with pytest.raises(ConfigError, match="resnet18 has no dropout"):
            build(options("resnet18", dropout=0.5), spec)


def saved(folder: Path, ending: str, arch: str = SMALLEST) -> tuple[Path, dict[str, torch.Tensor]]:
    """The weights of a network for 1000 classes in a file."""
    torch.manual_seed(5)
    state = models.get_model(arch, weights=None).state_dict()
    path = folder / f"weights{ending}"
    if ending == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path, state


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("channels", [3, 1, 6])
def test_weights_of_a_file_replace_all_but_a_last_layer_for_other_classes(
    tmp_path: Path, ending: str, channels: int
) -> None:
    path, state = saved(tmp_path, ending)
    model = build(options(), ImageSpec(channels, 32, 32, 7))
    random = load_weights(model, read_weights(path), path.name)
    assert random == ("fc.weight", "fc.bias")
    own = model.state_dict()
    first = "conv1.0.weight"
    for name, value in state.items():
        assert name in random or name == first or torch.equal(own[name], value)
    grey = torch.rand(2, 1, 32, 32)
    whole = models.get_model(SMALLEST, weights=None)
    whole.load_state_dict(state)
    expected = whole.get_submodule("conv1.0")(grey.expand(-1, 3, -1, -1))
    # A grey picture looks the same to the filters, however many channels show it.
    torch.testing.assert_close(model.get_submodule("conv1.0")(grey.expand(-1, channels, -1, -1)), expected)


def test_a_last_layer_for_as_many_classes_is_kept(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, ".safetensors")
    assert load_weights(build(options(), ImageSpec(3, 32, 32, 1000)), read_weights(path), "") == ()


def test_positions_of_a_vision_transformer_are_resized() -> None:
    def transformer(side: int, classes: int) -> nn.Module:
        return models.VisionTransformer(side, 16, 1, 2, 8, 16, num_classes=classes)

    old, new = transformer(64, 5), transformer(96, 3)
    assert load_weights(new, old.state_dict(), "vit") == ("heads.head.weight", "heads.head.bias")
    expected = models.vision_transformer.interpolate_embeddings(96, 16, dict(old.state_dict()))
    key = "encoder.pos_embedding"
    torch.testing.assert_close(new.state_dict()[key], expected[key])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, ".safetensors")
    with pytest.raises(InputError, match=r"does not fit the network: .* such as"):
        load_weights(build(options("mnasnet0_5"), ImageSpec(3, 32, 32, 2)), read_weights(path), path.name)


class Hostile:
    ran = False

    def __reduce__(self) -> Any:
        return setattr, (Hostile, "ran", True)


@pytest.mark.parametrize("content", [pickle.dumps({"a": Hostile()}), b"", b"PK\x03\x04", b"{}"])
def test_a_hostile_file_of_weights_is_refused_and_runs_nothing(tmp_path: Path, content: bytes) -> None:
    for ending in (".pt", ".safetensors"):
        path = tmp_path / f"weights{ending}"
        path.write_bytes(content)
        with pytest.raises(InputError, match="holds no weights that can be loaded"):
            read_weights(path)
    torch.save({"a": Hostile()}, tmp_path / "whole.pt")
    with pytest.raises(InputError, match="more than tensors"):
        read_weights(tmp_path / "whole.pt")
    assert not Hostile.ran


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and honours ranges."""

    ranges: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        asked = self.headers.get("Range", "")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    Server.ranges = []
    with http.server.HTTPServer(("127.0.0.1", 0), partial(Server, directory=str(tmp_path / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_missing_weights_are_downloaded_into_torchs_cache(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    content = bytes(range(256)) * 40
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / "served" / name).write_bytes(content)
    source = Source("net", f"{address}/{name}", len(content))
    assert "will be downloaded into" in source.note
    with pytest.raises(DataError, match=rf"missing; put .*{name} into .*checkpoints"):
        list(fetch(source, allowed=False))
    assert next(fetch(source, allowed=True)).message == "downloading the weights of net"
    list(fetch(source, allowed=True))
    assert source.path.read_bytes() == content
    assert source.note == ""
    assert sorted(path.name for path in source.path.parent.iterdir()) == [name]


def test_an_interrupted_download_resumes_and_a_damaged_one_is_refused(tmp_path: Path, address: str) -> None:
    content = bytes(range(256)) * 40
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / "served" / name).write_bytes(content)
    part = tmp_path / "part"
    for start in (content[:1000], b"x" * 1000):
        part.mkdir()
        (part / "content").write_bytes(start)
        if start.startswith(b"x"):
            with pytest.raises(ValueError, match="damaged"):
                resume_download(f"{address}/{name}", str(part), str(tmp_path / name))
            assert not (part / "content").exists()
        else:
            resume_download(f"{address}/{name}", str(part), str(tmp_path / name))
            assert (tmp_path / name).read_bytes() == content
    assert Server.ranges == ["bytes=1000-"] * 2


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed_by_a_step(model: nn.Module, freezer: Freezer, epoch: int) -> set[str]:
    """The names of what one step of an epoch changes."""
    freezer.start_epoch(epoch)
    before = state(model)
    optimizer = OPTIMIZERS.builder("sgd")(OPTIMIZERS.options("sgd")(name="sgd", lr=0.1, weight_decay=0.1), model)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    after = state(model)
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_freezing_keeps_weights_and_running_statistics() -> None:
    torch.manual_seed(0)
    spec = ImageSpec(3, 32, 32, 4)
    model = build(options(), spec)
    head = {"fc.weight", "fc.bias"}
    assert changed_by_a_step(model, Freezer(model, "backbone", 0), 1) == head
    model = build(options(), spec)
    both = Freezer(model, "batch-norm", 2)
    assert changed_by_a_step(model, both, 2) == head
    later = changed_by_a_step(model, both, 3)
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert later > head
    assert not any(name.rpartition(".")[0] in norms for name in later)
    assert not both.start_epoch(4)


def test_blocks_of_networks_are_those_of_their_papers() -> None:
    def count(arch: str, side: int = 32) -> int:
        with torch.device("meta"):
            model = build(options(arch), ImageSpec(3, side, side, 10))
        blocks = blocks_of(model)
        assert sum(map(len, blocks)) == len(list(model.parameters()))
        return len(blocks)

    assert count("resnet50") == 1 + 16 + 1
    assert count("vit_b_16") == 1 + 12 + 1
    assert count("vgg11") == 8 + 3
    assert count("convnext_tiny") == 1 + 18 + 3 + 1


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_learning_rates_fall_from_the_last_layer_to_the_first(name: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    made = partial(OPTIMIZERS.options(name), name=name, lr=1.0)
    groups = OPTIMIZERS.builder(name)(made(backbone_lr=0.1, layer_decay=0.5), model).param_groups
    rates = {id(each): group["lr"] for group in groups for each in group["params"]}
    assert [rates[id(each)] for each in model.parameters()] == pytest.approx([0.025] * 4 + [0.05] * 2 + [1] * 2)
    assert len(OPTIMIZERS.builder(name)(made(), model).param_groups) == 1
