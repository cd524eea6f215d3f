"""What is kept of a best epoch, read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from torchdeck.core.config import ExperimentConfig, parse_config
from torchdeck.core.data import open_dataset
from torchdeck.core.data.prepare import prepare, prepare_test
from torchdeck.core.errors import ConfigError, DataError, LogsError
from torchdeck.core.events import RunEvent
from torchdeck.core.results.predictions import (
    Predictions,
    matrix_of,
    read_filters,
    read_images,
    read_predictions,
    source_of,
)
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.utils.files import read_json
from torchdeck.core.utils.generators import run_to_end

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]
NOISY = {"data.name": "synthetic", "data.size": 16, "data.train_images": 96, "data.test_images": 60, "data.noise": 0.95}


def kept(folder: Path, **changes: NDArray[Any]) -> Path:
    """A folder with a predictions file of three images and two classes, changed."""
    tables: dict[str, NDArray[Any]] = {
        "labels": np.array([0, 1, 1], np.int16),
        "classes": np.array([[0, 1], [0, 1], [0, 1]], np.int16),
        "probabilities": np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]], np.float16),
    }
    safetensors.numpy.save_file(tables | changes, folder / "predictions.safetensors", {"epoch": "7"})
    return folder


def write_folder(root: Path, names: tuple[str, ...] = ("cat", "dog"), images: int = 8) -> None:
    """An image folder of small noisy pictures."""
    random = np.random.default_rng(3)
    for split in ("train", "test"):
        for name in names:
            folder = root / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(images):
                Image.fromarray(random.integers(0, 255, (20, 20, 3), np.uint8)).save(folder / f"{index}.png")


def test_the_predictions_add_up_to_the_matrix_of_the_best_epoch(small: Made, train: Train, the_run: TheRun) -> None:
    train(small(NOISY))
    record = load_record(the_run())
    matrix, best = matrix_of(record), record.best
    assert matrix is not None
    assert best is not None
    confusion, names = matrix
    predictions = read_predictions(the_run(), len(names))
    assert predictions.epoch == best.epoch
    for true, row in enumerate(confusion):
        assert [len(predictions.of_cell(true, guess)) for guess in range(len(row))] == list(row)


def test_the_surest_errors_and_the_least_sure_right_answers_come_first() -> None:
    sure = np.array([[0.6], [0.9], [0.7], [0.5], [0.8]], np.float32)
    predictions = Predictions(1, np.array([1, 1, 1, 0, 0]), np.zeros((5, 1), np.int64), sure)
    assert predictions.of_cell(1, 0).tolist() == [1, 2, 0]
    assert predictions.of_cell(0, 0).tolist() == [3, 4]
    assert predictions.of_cell(0, 1).tolist() == []


def test_missing_and_damaged_predictions_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(LogsError, match="is missing"):
        read_predictions(tmp_path, 2)
    kept(tmp_path)
    assert read_predictions(tmp_path, 2).epoch == 7
    path = tmp_path / "predictions.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(LogsError, match="damaged"):
        read_predictions(tmp_path, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": np.zeros((2, 2), np.int16)},
        {"classes": np.zeros((3, 0), np.int16)},
        {"classes": np.zeros(3, np.int16)},
        {"labels": np.array([0, 1, 2], np.int16)},
        {"labels": np.array([0, 1, -1], np.int16)},
        {"probabilities": np.zeros((3, 1), np.float16)},
        {"index": np.zeros(2, np.int32)},
        {"index": np.arange(3, dtype=np.int32), "paths": np.frombuffer(b"a.png\0b.png", np.uint8)},
    ],
)
def test_predictions_that_do_not_fit_are_damaged(tmp_path: Path, changes: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(LogsError, match="damaged"):
        read_predictions(kept(tmp_path, **changes), 2)


def test_predictions_of_an_earlier_version_have_numbers_for_names(tmp_path: Path) -> None:
    found = read_predictions(kept(tmp_path), 2)
    assert found.names is None
    assert [found.name(place) for place in range(3)] == ["0", "1", "2"]


def test_the_surest_mistakes_of_all_classes_come_first(tmp_path: Path) -> None:
    assert read_predictions(kept(tmp_path), 2).mistakes().tolist() == [2, 1]


def test_each_prediction_keeps_the_file_that_it_is_of(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path
) -> None:
    write_folder(tmp_path)
    folder = str(tmp_path / "images")
    asked = {"data.name": "image-folder", "data.path": folder, "data.size": 16, "data.test_limit": 9}
    train(small({**asked, "training.batch_size": 8}))
    found = read_predictions(the_run(), 2)
    assert len(found.labels) == 9
    for place, label in enumerate(found.labels):
        split, name, _ = found.name(place).split("/")
        assert (split, name) == ("test", ("cat", "dog")[label])
        assert (tmp_path / "images" / found.name(place)).is_file()


def test_images_that_are_no_files_keep_their_places_in_the_test_split(
    small: Made, train: Train, the_run: TheRun
) -> None:
    train(small({**NOISY, "data.test_limit": 23}))
    found = read_predictions(the_run(), 10)
    places = [int(found.name(place)) for place in range(23)]
    assert [place % 10 for place in places] == found.labels.tolist()
    assert len(set(places)) == 23 < max(places)


def test_filters_may_be_absent_but_not_damaged(small: Made, train: Train, the_run: TheRun) -> None:
    train(small())
    path = the_run() / "filters.safetensors"
    filters = read_filters(the_run())
    assert filters is not None
    assert filters.weights.shape == (6, 3, 5, 5)
    path.write_bytes(b"nothing")
    with pytest.raises(LogsError, match="damaged"):
        read_filters(the_run())
    path.unlink()
    assert read_filters(the_run()) is None


def test_a_record_without_an_evaluation_has_no_matrix() -> None:
    assert matrix_of(RunRecord()) is None


@pytest.mark.parametrize("limit", [0, 23])
def test_the_images_are_those_that_the_run_was_tested_on(
    small: Made, train: Train, the_run: TheRun, tmp_path: Path, limit: int
) -> None:
    config = small({**NOISY, "data.test_limit": limit, "training.seed": 5})
    train(config)
    predictions = read_predictions(the_run(), 10)
    source = source_of(read_json(the_run() / "run.json"), tmp_path / "data")
    found = run_to_end(read_images(source, predictions.labels))
    expected = run_to_end(prepare(open_dataset(config.data, tmp_path / "data"), 5, False))
    assert np.array_equal(found.take(slice(None)), expected.test.take(slice(None)))


def test_runs_that_differ_only_in_training_share_their_images(small: Made, tmp_path: Path) -> None:
    def source(**changes: Any) -> object:
        made = small({f"data.{key}": value for key, value in changes.items()})
        return source_of({"config": made.model_dump(mode="json")}, tmp_path)

    assert source() == source(flip=True, crop_padding=4, normalization="none", train_limit=50)
    assert source() != source(size=20)
    assert source() != source(test_limit=10)


def test_images_of_files_need_neither_the_cache_nor_a_place_to_write(tmp_path: Path) -> None:
    write_folder(tmp_path)
    section = {"name": "image-folder", "size": 16, "test_limit": 9}
    model, optimizer = {"name": "lenet"}, {"name": "sgd", "lr": 0.1}
    config = parse_config({"data": section, "model": model, "optimizer": optimizer})
    alone = run_to_end(prepare_test(open_dataset(config.data, tmp_path), 1))
    assert not (tmp_path / "cache").exists()
    whole = run_to_end(prepare(open_dataset(config.data, tmp_path), 1, False))
    mapped = run_to_end(prepare_test(open_dataset(config.data, tmp_path), 1))
    for split in (alone, mapped):
        assert np.array_equal(split.take(slice(None)), whole.test.take(slice(None)))
        assert np.array_equal(split.labels, whole.test.labels)


def test_absent_images_are_never_downloaded(tmp_path: Path) -> None:
    section = {"name": "cifar10", "download": True}
    made = {"data": section, "model": {"name": "lenet"}, "optimizer": {"name": "sgd", "lr": 0.1}}
    source = source_of({"config": parse_config(made).model_dump(mode="json")}, tmp_path)
    with pytest.raises(DataError) as caught:
        run_to_end(read_images(source, np.zeros(3, np.int64)))
    hint = "download them with: torchdeck data fetch cifar10"
    assert str(caught.value) == f"the images of cifar10 are not in {tmp_path}; {hint}"
    assert list(tmp_path.iterdir()) == []


def test_images_with_other_labels_are_not_those_of_the_run(small: Made, tmp_path: Path) -> None:
    source = source_of({"config": small().model_dump(mode="json")}, tmp_path)
    with pytest.raises(DataError, match="not the data set of this run"):
        run_to_end(read_images(source, np.zeros(40, np.int64)))


def test_a_header_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        source_of({}, tmp_path)
