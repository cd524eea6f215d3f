from pathlib import Path
from typing import Any

import pytest

from torchdeck import presets
from torchdeck.core.config import to_plain
from torchdeck.core.errors import ConfigError, InputError
from torchdeck.core.events import EpochCompleted, RunStarted
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.runs.reported import ReportedFigure, standing

# The recipes of the reports: what their text says, not what the files say.
RECIPES: dict[str, dict[str, Any]] = {
    "wrn-28-10": {
        "data": ("cifar10", "cifar-a", 4, True),
        "model": ("wrn-28-10", {"depth": 28, "widen_factor": 10, "dropout": 0.3}),
        "optimizer": ("sgd", 0.1, {"momentum": 0.9, "weight_decay": 5e-4}),
        "schedule": ("cosine", {"epochs": 200, "per": "epoch"}),
        "training": {"epochs": 150, "batch_size": 128, "precision": "auto"},
    },
    "lenet": {
        "data": ("cifar10", "cifar-a", 0, False),
        "model": ("lenet", {"dropout": 0.0}),
        "optimizer": ("sgd", 0.001, {"momentum": 0.9}),
        "training": {"epochs": 100, "batch_size": 100, "log_interval": 200},
    },
    "lenet-cpu-baseline": {
        "data": ("cifar10", "cifar-a", 0, False),
        "model": ("lenet", {}),
        "optimizer": ("sgd", 0.001, {"momentum": 0.9}),
        "training": {"epochs": 5, "batch_size": 4, "device": "cpu", "log_interval": 1000},
    },
    "resnet9": {
        "data": ("cifar10", "cifar-a", 0, False),
        "model": ("resnet9", {}),
        "optimizer": ("sgd", 0.001, {"momentum": 0.9}),
        "training": {"epochs": 20, "batch_size": 100},
    },
    "lenet-l2": {
        "data": ("cifar10", "cifar-a", 0, False),
        "model": ("lenet", {"dropout": 0.0}),
        "optimizer": ("sgd", 0.001, {"momentum": 0.95, "weight_decay": 1e-4}),
        "training": {"epochs": 50},
    },
    "lenet-dropout": {
        "data": ("cifar10", "cifar-a", 0, False),
        "model": ("lenet", {"dropout": 0.5}),
        "optimizer": ("sgd", 0.001, {"momentum": 0.95, "weight_decay": 0.0}),
        "training": {"epochs": 50},
    },
    "resnet18": {
        "data": ("cifar10", "cifar-a", 4, True),
        "model": ("resnet18", {}),
        "optimizer": ("sgd", 0.005, {"momentum": 0.95}),
        "training": {"epochs": 25},
    },
    "mnist-resnet34": {
        "data": ("mnist", "mnist", 0, False),
        "model": ("resnet34-mnist", {"stem": 3, "dropout": 0.3, "extra_bn": True}),
        "optimizer": ("adam", 0.001, {}),
        "training": {"epochs": 10, "batch_size": 64, "log_interval": 10, "seed": 1},
    },
    "basic-cnn": {
        "data": ("cifar10", "cifar-b", 4, True),
        "model": ("basic-cnn", {}),
        "optimizer": ("adamw", 0.001, {"weight_decay": 5e-4}),
        "training": {"patience": 6, "patience_metric": "accuracy", "label_smoothing": 0.0},
    },
    "improved-cnn": {
        "data": ("cifar10", "cifar-b", 4, True),
        "model": ("improved-cnn", {"dropout": 0.5}),
        "optimizer": ("adamw", 0.001, {"weight_decay": 5e-4}),
        "training": {"patience": 6, "label_smoothing": 0.1},
    },
    "residual-cnn": {
        "data": ("cifar10", "cifar-b", 4, True),
        "model": ("residual-cnn", {}),
        "optimizer": ("adamw", 0.001, {"weight_decay": 5e-4}),
        "training": {"patience": 6, "label_smoothing": 0.0},
    },
    "vgg-a": {
        "data": ("cifar10", "cifar-b", 4, True),
        "model": ("vgg-a", {}),
        "optimizer": ("adam", 0.001, {}),
        "training": {"epochs": 120, "patience": 0},
    },
    "vgg-a-bn": {
        "data": ("cifar10", "cifar-b", 4, True),
        "model": ("vgg-a-bn", {}),
        "optimizer": ("adam", 0.001, {}),
        "training": {"epochs": 100, "patience": 6},
    },
}

FINE_TUNING = {f"finetune-{name}" for name in ("resnet50", "efficientnet-b0", "convnext-tiny", "vit-b16")}


def test_every_experiment_of_the_reports_is_a_preset() -> None:
    assert set(presets.names()) == {"quickstart", *RECIPES, "speedrun-94", "speedrun-96", "speedrun-cpu", *FINE_TUNING}
    assert presets.names()[0] == "quickstart"


@pytest.mark.parametrize("name", RECIPES)
def test_a_preset_is_the_reports_recipe(name: str) -> None:
    config = to_plain(presets.load(name).config)
    recipe = RECIPES[name]
    data = config["data"]
    assert (data["name"], data["normalization"], data["crop_padding"], data["flip"]) == recipe["data"]
    model, options = recipe["model"]
    assert config["model"].items() >= {"name": model, **options}.items()
    optimizer, lr, more = recipe["optimizer"]
    assert config["optimizer"].items() >= {"name": optimizer, "lr": lr, **more}.items()
    schedule, more = recipe.get("schedule", ("constant", {}))
    assert config["schedule"].items() >= {"name": schedule, **more}.items()
    assert config["training"].items() >= {"seed": 1, **recipe["training"]}.items()
    assert data["validation"] == "test"


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_can_be_read_by_a_person(name: str) -> None:
    preset = presets.load(name)
    assert preset.title
    assert preset.summary.endswith(".")


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


MINIMAL = '[data]\nname = "digits"\n[model]\nname = "lenet"\n[optimizer]\nname = "sgd"\n'


def test_a_preset_can_be_a_file_of_ones_own(tmp_path: Path) -> None:
    preset = presets.load(write(tmp_path / "mine.toml", 'title = "Mine"\n' + MINIMAL))
    assert (preset.name, preset.title, preset.config.data.name) == ("mine", "Mine", "digits")


BROKEN = [
    ("title = ", InputError, "is not TOML"),
    (MINIMAL + "[training]\nepochs = 0\n", ConfigError, "training.epochs"),
    ("model = 3\n", ConfigError, "write [model]"),
    ("notes = 3\n" + MINIMAL, ConfigError, "write [notes]"),
    ('[notes]\n"optimizer.lrr" = "x"\n' + MINIMAL, ConfigError, "did you mean 'lr'?"),
    ('[notes]\n"optimiser.lr" = "x"\n' + MINIMAL, ConfigError, "notes.optimiser.lr"),
    ("reported = 3\n" + MINIMAL, ConfigError, "write [[reported]]"),
    ('[[reported]]\nmetric = "test/f1"\nat = "best"\nvalue = 1\n' + MINIMAL, ConfigError, "reported.1.metric"),
    ('[[reported]]\nmetric = "test/loss"\nat = "soon"\nvalue = 1\n' + MINIMAL, ConfigError, "reported.1.at"),
    ('[[reported]]\nmetric = "test/loss"\nat = "best"\nvalue = true\n' + MINIMAL, ConfigError, "reported.1.value"),
    ('[[reported]]\nmetric = "test/loss"\n' + MINIMAL, ConfigError, "metric, at and value"),
    ("[extra]\nx = 1\n" + MINIMAL, ConfigError, "no section named 'extra'"),
    ("x = 1\n" + MINIMAL, ConfigError, "no section named 'x'"),
    ("model = " + "[" * 5000, InputError, "nested too deep"),
]


@pytest.mark.parametrize(("text", "error", "told"), BROKEN)
def test_a_broken_preset_file_is_told_with_its_fault(
    tmp_path: Path, text: str, error: type[InputError], told: str
) -> None:
    with pytest.raises(error) as caught:
        presets.load(write(tmp_path / "mine.toml", text))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "name", ["lent", "", ".", "..", "../presets/lenet", "nowhere.toml", "lenet\x00", "/dev/zero", "/"]
)
def test_what_is_no_preset_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        presets.load(name)


def epoch(number: int, accuracy: float, loss: float = 1.0) -> EpochCompleted:
    return EpochCompleted(
        epoch=number, step=number, metrics={"test/accuracy": accuracy, "test/loss": loss}, lr=0.1,
        images_per_second=1, train_seconds=1, seconds=1, best=False, step_losses=b"",
    )  # fmt: skip


EPOCHS = [epoch(1, 0.3, 2.0), epoch(2, 0.6, 1.5), epoch(3, 0.5, 1.8)]


@pytest.mark.parametrize(
    ("metric", "at", "wanted"),
    [
        ("test/accuracy", "best", 0.6),
        ("test/accuracy", "final", 0.5),
        ("test/accuracy", "epoch 1", 0.3),
        ("test/accuracy", "by epoch 1", 0.3),
        ("test/accuracy", "by epoch 9", 0.6),
        ("test/accuracy", "epoch 9", None),
        ("test/loss", "best", 1.5),
        ("train/loss", "best", None),
    ],
)
def test_a_reported_figure_finds_its_counterpart(metric: str, at: str, wanted: float | None) -> None:
    assert ReportedFigure(metric, at, 0.5).reached(EPOCHS, finished=True) == wanted


def test_a_final_figure_needs_a_finished_run() -> None:
    assert ReportedFigure("test/accuracy", "final", 0.5).reached(EPOCHS, finished=False) is None


@pytest.mark.parametrize(
    ("metric", "at", "value", "finished", "wanted"),
    [
        ("test/accuracy", "best", 0.5, True, 0.0),
        ("test/accuracy", "best", 0.7, True, 0.1),
        ("test/accuracy", "best", 0.7, False, None),
        ("test/accuracy", "best", 0.5, False, 0.0),
        ("test/accuracy", "epoch 1", 0.4, False, 0.1),
        ("test/accuracy", "by epoch 3", 0.7, False, 0.1),
        ("test/accuracy", "by epoch 9", 0.7, False, None),
        ("test/loss", "best", 1.2, True, 0.3),
        ("test/loss", "epoch 1", 2.5, True, 0.0),
    ],
)
def test_a_run_is_short_of_a_figure_only_once_it_cannot_reach_it_any_more(
    metric: str, at: str, value: float, finished: bool, wanted: float | None
) -> None:
    short = ReportedFigure(metric, at, value).shortfall(EPOCHS, finished)
    assert short == (None if wanted is None else pytest.approx(wanted))


def test_figures_of_another_data_set_or_model_are_no_measure() -> None:
    preset = presets.load("lenet")
    assert preset.reported_for(preset.with_overrides(["optimizer.lr=0.1"])) == preset.reported
    assert preset.reported_for(preset.with_overrides(["data.name=mnist"])) == ()
    assert preset.reported_for(preset.with_overrides(["model.name=resnet9"])) == ()


def seen(epochs: int, status: str = "completed", **data: object) -> RunRecord:
    """The record of a run of `lenet` with these planned epochs, and the test accuracies of `EPOCHS`."""
    config = {"data": data, "training": {"epochs": epochs}}
    start = RunStarted(
        run_id="x", resumed_from=None, preset="lenet", name="", reported=(), config=config, device="cpu",
        device_name="", parameters=1, forward_flops=1, epochs=epochs, steps_per_epoch=1, train_images=1, test_images=1,
        class_names=(), chosen_on="test", reproducible="exact",
    )  # fmt: skip
    return RunRecord(status=status, started=start, epochs=EPOCHS)


@pytest.mark.parametrize(
    ("record", "value", "seeds", "wanted"),
    [
        (seen(100), 0.6, (), "reached"),
        (seen(100), 0.65, (), "short by 5.00 points"),
        (seen(100), 0.65, (0.6, 0.64, 0.68), "within noise"),
        (seen(2), 0.6, (), "reached"),
        (seen(2), 0.65, (), "not run in full"),
        (seen(100, train_limit=500), 0.65, (), "not run in full"),
        (seen(100, "stopped"), 0.65, (), "not run in full"),
        (seen(100, "died"), 0.65, (), "not run in full"),
        (seen(100, "running"), 0.65, (), "not yet"),
        (RunRecord(), 0.65, (), "not run yet"),
    ],
)
def test_a_run_is_compared_with_a_reported_figure_by_one_rule(
    record: RunRecord, value: float, seeds: tuple[float, ...], wanted: str
) -> None:
    claim = ReportedFigure("test/accuracy", "best", value)
    full = presets.full_run("lenet", ReportedFigure("test/accuracy", "best", 0.65))
    assert standing(claim, record, full, seeds) == wanted


def test_a_figure_that_is_not_the_presets_own_does_not_ask_for_its_epochs() -> None:
    claim = ReportedFigure("test/accuracy", "best", 0.61)
    assert presets.full_run("lenet", claim) is presets.full_run("nothing", claim) is None
    assert standing(claim, seen(2), None) == "short by 1.00 points"
