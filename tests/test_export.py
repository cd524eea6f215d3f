import csv
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from core.config import ExperimentConfig, parse_config
from core.data import open_dataset
from core.errors import CheckpointError, InputError
from core.events import EpochCompleted, RunEvent
from core.export import export
from core.files import read_json
from core.logs import load_record
from core.results.tabular import Exported, write_csv
from core.session import Surroundings

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]


def test_the_torchscript_copy_classifies_as_the_best_epoch_did(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path, surroundings: Surroundings
) -> None:
    config = small({"training.epochs": 6})
    train(config)
    export(the_run(), "torchscript", tmp_path / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.load(tmp_path / "model.pt")
    split = open_dataset(config.data, surroundings.data_root).read("test")
    with torch.no_grad():
        predicted = model(torch.from_numpy(split.images).float() / 255).argmax(1)
    best = load_record(the_run()).best
    assert best is not None
    assert float((predicted == torch.from_numpy(split.labels)).float().mean()) == pytest.approx(
        best.metrics["test/accuracy"]
    )


def test_the_safetensors_copy_holds_the_weights_and_their_settings(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    train(small())
    export(the_run(), "safetensors", tmp_path / "model.safetensors")
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) == read_json(the_run() / "run.json")["parameters"]
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert '"lenet"' in file.metadata()["config"]


def test_the_table_has_a_line_an_epoch(small: Made, train: Train, the_run: TheRun, tmp_path: Path) -> None:
    epochs = [event for event in train(small()) if isinstance(event, EpochCompleted)]
    write_csv([Exported("", the_run())], tmp_path / "run.csv")
    rows = list(csv.DictReader((tmp_path / "run.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["test/accuracy"]) for row in rows] == [epoch.metrics["test/accuracy"] for epoch in epochs]


def test_a_run_without_weights_says_so(small: Made, train: Train, the_run: TheRun, tmp_path: Path) -> None:
    train(small())
    for path in (the_run() / "checkpoints").rglob("manifest.json"):
        path.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint that verifies"):
        export(the_run(), "torchscript", tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_a_target_that_cannot_be_written_is_told(small: Made, train: Train, the_run: TheRun, tmp_path: Path) -> None:
    train(small())
    with pytest.raises(InputError, match="--output"):
        export(the_run(), "safetensors", tmp_path / "nowhere" / "model.safetensors")
    with pytest.raises(InputError, match="--output"):
        write_csv([Exported("", the_run())], tmp_path / "nowhere" / "run.csv")


def test_the_analysis_of_the_best_epoch_is_kept(small: Made, train: Train, the_run: TheRun) -> None:
    train(small())
    predictions = safetensors.torch.load_file(the_run() / "predictions.safetensors")
    filters = safetensors.torch.load_file(the_run() / "filters.safetensors")
    best = load_record(the_run()).best
    assert best is not None
    hits = (predictions["classes"][:, 0] == predictions["labels"]).float().mean()
    assert float(hits) == pytest.approx(best.metrics["test/accuracy"])
    assert next(iter(filters.values())).shape == (6, 3, 5, 5)
    assert parse_config(read_json(the_run() / "run.json")["config"]).model.name == "lenet"
