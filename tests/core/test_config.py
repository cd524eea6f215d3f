import math
from typing import Any

import pytest

from torchdeck.core.config import ExperimentConfig, config_hash, parse_config, to_plain, with_overrides
from torchdeck.core.errors import ConfigError, InputError
from torchdeck.core.settings import settings_of

GOOD: dict[str, Any] = {
    "data": {"name": "digits"},
    "model": {"name": "lenet"},
    "optimizer": {"name": "sgd"},
}

BAD: list[tuple[str, str, str]] = [
    ("optimizer.lr=nan", "optimizer.lr", "finite"),
    ("optimizer.lr=inf", "optimizer.lr", "finite"),
    ("optimizer.lr=-inf", "optimizer.lr", "finite"),
    ("optimizer.lr=0", "optimizer.lr", "greater than 0"),
    ("optimizer.lr=-0.1", "optimizer.lr", "greater than 0"),
    ("optimizer.lr=1000", "optimizer.lr", "less than or equal to 100"),
    ("optimizer.lr=true", "optimizer.lr", "number"),
    ("optimizer.lr=fast", "optimizer.lr", "number"),
    ("optimizer.lr=[0.1]", "optimizer.lr", "number"),
    ("optimizer.momentum=1", "optimizer.momentum", "less than 1"),
    ("optimizer.momentum=1.5", "optimizer.momentum", "less than 1"),
    ("optimizer.momentum=-0.1", "optimizer.momentum", "greater than or equal to 0"),
    ("optimizer.momentun=0.9", "optimizer.momentun", "did you mean 'momentum'?"),
    ("optimizer.beta1=0.9", "optimizer.beta1", "no such setting of optimizer 'sgd'"),
    ("optimizer.weight_decay=-1", "optimizer.weight_decay", "greater than or equal to 0"),
    ("optimizer.weight_decay=2", "optimizer.weight_decay", "less than or equal to 1"),
    ("optimizer.nesterov=1", "optimizer.nesterov", "boolean"),
    ("optimizer.name=sdg", "optimizer", "did you mean 'sgd'?"),
    ("optimizer.name=adan", "optimizer", "did you mean 'adam'?"),
    ("model.name=resnt18", "model", "did you mean 'resnet18'?"),
    ("model.name=3", "model", "no model named"),
    ("model.nam=x", "model.nam", "did you mean 'name'?"),
    ("model.dropout=1", "model.dropout", "less than 1"),
    ("model.dropout=-0.5", "model.dropout", "greater than or equal to 0"),
    ("model.dropout=half", "model.dropout", "number"),
    ("model.depth=28", "model.depth", "no such setting of model 'lenet'"),
    ("data.name=cifar", "data", "did you mean 'cifar1"),
    ("data.name=cifar11", "data", "did you mean 'cifar1"),
    ("data.name=imagenet", "data", "did you mean 'tiny-imagenet'?"),
    ("data.size=0", "data.size", "from 1 to 1024"),
    ("data.size=32.5", "data.size", "integer"),
    ("data.size=5000", "data.size", "from 1 to 1024"),
    ("data.normalization=cifar", "data.normalization", "cifar-a"),
    ("data.crop_padding=-1", "data.crop_padding", "greater than or equal to 0"),
    ("data.crop_padding=100", "data.crop_padding", "less than or equal to 64"),
    ("data.flip=yes", "data.flip", "boolean"),
    ("data.validation=train", "data.validation", "held-out"),
    ("data.validation_fraction=0", "data.validation_fraction", "greater than 0"),
    ("data.validation_fraction=1", "data.validation_fraction", "less than 1"),
    ("data.train_limit=-5", "data.train_limit", "greater than or equal to 0"),
    ("data.source=disk", "data.source", "resident"),
    ("data.download=0", "data.download", "boolean"),
    ("data.path=x", "data.path", "no such setting of data 'digits'"),
    ("schedule.name=cosin", "schedule", "did you mean 'cosine'?"),
    ("schedule.warmup_epochs=-1", "schedule.warmup_epochs", "greater than or equal to 0"),
    ("schedule.warmup_epochs=10", "schedule.warmup_epochs", "below training.epochs"),
    ("schedule.factor=0.1", "schedule.factor", "no such setting of schedule 'constant'"),
    ("training.epochs=0", "training.epochs", "greater than or equal to 1"),
    ("training.epochs=-3", "training.epochs", "greater than or equal to 1"),
    ("training.epochs=2.5", "training.epochs", "integer"),
    ("training.epochs=1e3", "training.epochs", "integer"),
    ("training.epochs=true", "training.epochs", "integer"),
    ("training.epochs=999999999", "training.epochs", "less than or equal to"),
    ("training.epoch=3", "training.epoch", "did you mean 'epochs'?"),
    ("training.batch_size=0", "training.batch_size", "greater than or equal to 1"),
    ("training.batch_size='64'", "training.batch_size", "integer"),
    ("training.batchsize=64", "training.batchsize", "did you mean 'batch_size'?"),
    ("training.accumulation=0", "training.accumulation", "greater than or equal to 1"),
    ("training.accumulation=500", "training.accumulation", "lower it"),
    ("training.evaluation_batch_size=0", "training.evaluation_batch_size", "at least 1"),
    ("training.evaluation_batch_size=all", "training.evaluation_batch_size", "auto"),
    ("training.precision=fp8", "training.precision", "bf16"),
    ("training.label_smoothing=1", "training.label_smoothing", "less than 1"),
    ("training.label_smoothing=nan", "training.label_smoothing", "finite"),
    ("training.gradient_clipping=-1", "training.gradient_clipping", "greater than or equal to 0"),
    ("training.patience=-1", "training.patience", "greater than or equal to 0"),
    ("training.patience_metric=f1", "training.patience_metric", "accuracy"),
    ("training.log_interval=-1", "training.log_interval", "greater than or equal to 0"),
    ("training.channels_last=maybe", "training.channels_last", "auto"),
    ("training.compile=fast", "training.compile", "boolean"),
    ("training.seed=-1", "training.seed", "greater than or equal to 0"),
    ("training.seed=99999999999999999999", "training.seed", ""),
    ("training.device=gpu", "training.device", "cuda:N"),
    ("training.device=cuda:x", "training.device", "cuda:N"),
    ("training.device=mps", "training.device", "is not supported: use cpu, or cuda"),
    ("training.device=cuda:0,00", "training.device", "names a GPU twice"),
    ("training.threads=0", "training.threads", "at least 1"),
    ("training.threads=-2", "training.threads", "at least 1"),
    ("training.deterministic=always", "training.deterministic", "boolean"),
    ("trainin.epochs=3", "trainin.epochs", "did you mean 'training'?"),
    ("lr=0.1", "", "section.key=value"),
    ("optimizer.lr", "", "section.key=value"),
    ("optimizer=sgd", "", "section.key=value"),
]


@pytest.mark.parametrize(("override", "path", "told"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_setting_is_refused_with_its_path_and_its_mend(override: str, path: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(with_overrides(GOOD, [override]))
    (fault,) = [fault for fault in caught.value.faults if fault.path == path]
    assert told in fault.message


def test_all_faults_are_named_at_once() -> None:
    wrong = ["optimizer.lr=nan", "model.nam=x", "training.batch_size=0", "data.size=-1"]
    with pytest.raises(ConfigError) as caught:
        parse_config(with_overrides(GOOD, wrong))
    assert {fault.path for fault in caught.value.faults} == {
        "optimizer.lr",
        "model.nam",
        "training.batch_size",
        "data.size",
    }


def test_a_missing_section_and_an_unknown_one_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"data": {"name": "digits"}, "modl": {"name": "lenet"}, "optimizer": {"lr": 0.1}})
    told = {fault.path: fault.message for fault in caught.value.faults}
    assert "did you mean 'model'?" in told["modl"]
    assert "missing" in told["model"]
    assert "choose one of: sgd, adam, adamw" in told["optimizer"]


def test_overriding_a_name_starts_the_section_from_its_defaults() -> None:
    before = {**GOOD, "optimizer": {"name": "sgd", "momentum": 0.5, "lr": 0.3}}
    config = parse_config(with_overrides(before, ["optimizer.weight_decay=0.1", "optimizer.name=adam"]))
    assert to_plain(config)["optimizer"] == {
        "name": "adam", "lr": 0.001, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
        "backbone_lr": 1.0, "layer_decay": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "padding"),
    [(["data.name=tiny-imagenet"], 8), (["data.name=tiny-imagenet", "data.size=32"], 4), (["data.name=mnist"], 4)],
)
def test_another_data_set_keeps_the_augmentation(overrides: list[str], padding: int) -> None:
    before = {**GOOD, "data": {"name": "cifar10", "crop_padding": 4, "flip": True, "train_limit": 7}}
    data = parse_config(with_overrides(before, [*overrides, "data.crop_fill=reflect"])).data
    assert (data.crop_padding, data.flip, data.crop_fill, data.train_limit) == (padding, True, "reflect", 0)
    assert parse_config(with_overrides(before, [*overrides, "data.flip=false"])).data.flip is False


def test_an_override_is_a_toml_value_or_a_text() -> None:
    overrides = ["optimizer.lr=1e-2", "data.flip=true", "training.precision=bf16", 'training.device="cpu"']
    config = parse_config(with_overrides(GOOD, overrides))
    assert (config.optimizer.lr, config.data.flip) == (0.01, True)
    assert (config.training.precision, config.training.device) == ("bf16", "cpu")


def test_overrides_leave_what_they_change_alone() -> None:
    with_overrides(GOOD, ["model.dropout=0.5"])
    assert GOOD["model"] == {"name": "lenet"}


def test_a_config_survives_json_and_keeps_its_hash() -> None:
    config = parse_config(with_overrides(GOOD, ["schedule.name=cosine", "optimizer.lr=0.25"]))
    again = parse_config(to_plain(config))
    assert again == config
    assert config_hash(again) == config_hash(config)
    assert config_hash(parse_config(GOOD)) != config_hash(config)


def test_a_config_cannot_be_changed_in_place() -> None:
    config: ExperimentConfig = parse_config(GOOD)
    with pytest.raises(ValueError, match="frozen"):
        config.training.epochs = 5  # type: ignore[misc]


def test_every_setting_is_described_with_its_bounds() -> None:
    listed = settings_of()
    assert all(item.help and item.bounds for item in listed)
    assert {item.path for item in settings_of("training")} >= {"training.epochs", "training.precision"}
    momentum, _ = [item for item in listed if item.path == "optimizer.momentum"]
    assert (momentum.of, momentum.default, momentum.bounds) == ("sgd", 0.9, "at least 0, below 1")


def test_an_unknown_section_of_settings_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'model'"):
        settings_of("modell")


def test_a_deeply_nested_value_is_refused() -> None:
    nested: Any = "end"
    for _ in range(50):
        nested = [nested]
    with pytest.raises(ConfigError):
        parse_config({**GOOD, "model": {"name": "lenet", "dropout": nested}})


def test_the_bounds_are_open_where_they_must_be() -> None:
    for lr in (math.nextafter(0, 1), 100.0):
        assert parse_config({**GOOD, "optimizer": {"name": "sgd", "lr": lr}}).optimizer.lr == lr
