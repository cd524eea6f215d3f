import csv
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from example_runs import Example, make_study
from pictures import write_classes
from torch import nn

from torchdeck.core.config import ExperimentConfig, parse_config
from torchdeck.core.data import open_dataset
from torchdeck.core.errors import CheckpointError, InputError, LogsError, RunError
from torchdeck.core.events import EpochCompleted, RunEvent
from torchdeck.core.results.csv_export import ExportedRun, runs_of, write_csv, write_predictions
from torchdeck.core.results.curves import step_losses
from torchdeck.core.results.exported_model import outputs
from torchdeck.core.results.model_export import Form, export
from torchdeck.core.results.tensorboard_export import write_events
from torchdeck.core.results.trained_model import load_trained
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext
from torchdeck.core.studies.store import find_study, load_study
from torchdeck.core.utils.files import read_json

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]


def test_the_torchscript_copy_classifies_as_the_best_epoch_did(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path, context: SessionContext
) -> None:
    config = small({"training.epochs": 6})
    train(config)
    export(the_run(), "torchscript", tmp_path / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.load(tmp_path / "model.pt")
    split = open_dataset(config.data, context.data_root).read("test")
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
    write_csv([ExportedRun("", the_run())], tmp_path / "run.csv")
    rows = list(csv.DictReader((tmp_path / "run.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["test/accuracy"]) for row in rows] == [epoch.metrics["test/accuracy"] for epoch in epochs]


def test_a_run_without_weights_says_so(small: Made, train: Train, the_run: TheRun, tmp_path: Path) -> None:
    train(small())
    for path in (the_run() / "checkpoints").rglob("manifest.json"):
        path.unlink()
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        export(the_run(), "torchscript", tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


def test_a_target_that_cannot_be_written_is_told(small: Made, train: Train, the_run: TheRun, tmp_path: Path) -> None:
    train(small())
    with pytest.raises(InputError, match="--output"):
        export(the_run(), "safetensors", tmp_path / "nowhere" / "model.safetensors")
    with pytest.raises(InputError, match="--output"):
        write_csv([ExportedRun("", the_run())], tmp_path / "nowhere" / "run.csv")


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


def test_the_loss_of_every_step_stands_in_a_second_table(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    train(small())
    _, steps = write_csv([ExportedRun("", the_run())], tmp_path / "run.csv")
    rows = list(csv.DictReader(steps.read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 10))
    assert [int(row["epoch"]) for row in rows] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    losses = np.concatenate([step_losses(epoch) for epoch in load_record(the_run()).epochs])
    assert [np.float32(row["train/loss"]) for row in rows] == losses.tolist()


def test_the_tables_of_a_study_name_the_run_of_every_line(tmp_path: Path) -> None:
    make_study(tmp_path, [Example("a"), Example("b", ("optimizer.lr=0.5",)), Example("c", begun=False)])
    write_csv(runs_of(load_study(find_study(tmp_path, "example")), tmp_path), tmp_path / "study.csv")
    rows = list(csv.DictReader((tmp_path / "study.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["a"] * 8 + ["b"] * 8
    assert rows[0]["run"].endswith("ee00")


def test_a_study_that_has_not_begun_has_nothing_to_export(tmp_path: Path) -> None:
    make_study(tmp_path, [Example("a", begun=False, state="waiting")])
    with pytest.raises(InputError, match="export it later"):
        runs_of(load_study(find_study(tmp_path, "example")), tmp_path)


def test_tensorboard_reads_the_scalars_the_step_losses_and_the_settings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard comes with the extra of that name")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    make_study(tmp_path / "logs", [Example("a/../b"), Example("c", ("optimizer.lr=0.5",))])
    runs = runs_of(load_study(find_study(tmp_path / "logs", "example")), tmp_path / "logs")
    folders = write_events(runs, tmp_path / "events")
    assert [folder.relative_to(tmp_path / "events").as_posix() for folder in folders] == ["00-a-..-b", "01-c"]
    write_events(runs, tmp_path / "events")
    read = EventAccumulator(str(folders[1]), size_guidance={"scalars": 0}).Reload()
    record = load_record(runs[1].folder)
    seen = read.Scalars("test/accuracy")
    assert [item.step for item in seen] == [epoch.step for epoch in record.epochs]
    assert [item.value for item in seen] == pytest.approx([epoch.metrics["test/accuracy"] for epoch in record.epochs])
    losses = np.concatenate([step_losses(epoch) for epoch in record.epochs])
    assert [item.value for item in read.Scalars("train/step_loss")] == pytest.approx(losses.tolist())
    content = read.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    settings = metadata.parse_session_start_info_plugin_data(content).hparams
    assert settings["optimizer.lr"].number_value == 0.5
    assert settings["model.name"].string_value == "lenet"


def test_predictions_are_a_line_an_image_with_its_path_and_likeliest_classes(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        write_classes(tmp_path / "photos" / split, {"ants, red": 6, "bees": 6})
    asked = {"data.name": "image-folder", "data.path": str(tmp_path / "photos"), "data.size": 16}
    train(small({**asked, "training.batch_size": 6}))
    (file,) = write_predictions(the_run(), tmp_path / "p.csv")
    with open(file, newline="") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == ["path", "label", "class_1", "probability_1", "class_2", "probability_2"]
    assert [row["path"] for row in rows] == [f"test/{name}/{n}.png" for name in ("ants, red", "bees") for n in range(6)]
    assert all(row["path"].split("/")[1] == row["label"] for row in rows)
    right = sum(row["label"] == row["class_1"] for row in rows)
    best = load_record(the_run()).best
    assert best is not None
    assert right / len(rows) == pytest.approx(best.metrics["test/accuracy"])
    assert all(float(row["probability_1"]) + float(row["probability_2"]) == pytest.approx(1, abs=1e-3) for row in rows)


def test_predictions_of_arrays_have_places_and_a_run_without_any_has_none(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    train(small())
    (file,) = write_predictions(the_run(), tmp_path / "p.csv")
    head, first, *_ = file.read_text().splitlines()
    assert head.startswith("index,label,class_1,probability_1,")
    assert first.startswith("0,pattern 0,")
    (the_run() / "predictions.safetensors").unlink()
    with pytest.raises(LogsError, match="is missing"):
        write_predictions(the_run(), tmp_path / "p.csv")


@pytest.mark.parametrize("form", ["onnx", "pt2", "torchscript"])
@pytest.mark.parametrize("whole", [False, True])
def test_an_exported_model_computes_what_the_run_does_for_any_number_of_images(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path, form: Form, whole: bool
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    train(small({"training.epochs": 1}))
    target = tmp_path / f"model.{form}"
    done = export(the_run(), form, target, whole=whole)
    assert done.difference is not None
    assert done.difference <= 1e-4
    trained = load_trained(the_run())
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    expected = trained.logits(pixels).softmax(1) if whole else trained.logits(pixels)
    images = pixels.numpy() if whole else (pixels.float() / 255).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = outputs(form, target, images)
    assert found == pytest.approx(expected.numpy(), abs=1e-4)


def test_an_exported_model_says_what_it_takes_and_gives(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    train(small({"training.epochs": 1}))
    export(the_run(), "onnx", tmp_path / "model.onnx", whole=True)
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert about["run_id"] == the_run().name
    assert json.loads(about["classes"]) == list(load_trained(the_run()).classes)
    assert json.loads(about["input"]) == {"shape": ["batch", 3, 16, 16], "type": "uint8"}
    assert about["output"] == "probabilities"
    assert 0 <= json.loads(about["metrics"])["test/accuracy"] <= 1


def test_an_export_that_computes_something_else_is_not_written(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(small({"training.epochs": 1}))
    monkeypatch.setattr(torch.jit, "trace", lambda *_: torch.jit.script(nn.Softmax(1)))
    with pytest.raises(RunError, match=r"cannot be loaded|differs from the run's by"):
        export(the_run(), "torchscript", tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()
