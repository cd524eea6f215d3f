"""What is told of a folder of images before anybody trains on it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import image_folder, write_classes
from PIL import Image
from typer.testing import CliRunner

from torchdeck.core.data.inspection import inspect
from torchdeck.core.data.prepare import prepare
from torchdeck.core.utils.generators import run_to_end
from torchdeck.tui.cli.data_commands import data_app


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split, ants in (("train", 6), ("val", 2), ("test", 3)):
        write_classes(root / split, {"ants": ants, "bees": 3})
    (root / "train/ants/notes.txt").write_text("notes")
    (root / "train/bees/broken.png").write_bytes(b"no picture")
    shutil.copy(root / "train/ants/0.png", root / "test/ants/copy.png")
    Image.new("L", (400, 300)).save(root / "test/bees/large.jpg")
    Image.fromarray(np.full((40, 50), 4095, np.uint16)).save(root / "test/bees/deep.png")
    return root


def test_an_inspection_names_splits_classes_and_all_that_is_wrong(photos: Path) -> None:
    found = run_to_end(inspect(image_folder(photos))).to_json()
    assert found["splits"] == {
        "train": {"folder": "train", "images": 10, "classes": {"ants": 6, "bees": 4}},
        "validation": {"folder": "val", "images": 5, "classes": {"ants": 2, "bees": 3}},
        "test": {"folder": "test", "images": 9, "classes": {"ants": 4, "bees": 5}},
    }
    assert found["imbalance"] == 1.5
    assert found["ignored"] == [{"path": "train/ants/notes.txt", "why": "not an image by its ending", "files": 1}]
    assert found["unreadable"] == [{"path": "train/bees/broken.png", "why": "not an image, or damaged"}]
    assert found["duplicates_across_splits"] == [["train/ants/0.png", "test/ants/copy.png"]]
    assert found["sizes"] == {"smallest": [20, 10], "median": [20, 10], "largest": [400, 300]}
    assert found["formats"] == {"PNG": 22, "JPEG": 1}
    assert found["modes"] == {"RGB": 21, "L": 1, "I;16": 1}
    assert found["value_ranges"] == {"I;16": [4095, 4095]}
    assert (found["size"], found["suggested_size"]) == (8, 32)
    json.dumps(found)


def test_mean_deviation_and_cache_are_those_that_training_will_have(photos: Path) -> None:
    found = run_to_end(inspect(image_folder(photos))).to_json()
    dataset = image_folder(photos, on_damage="skip")
    trained = run_to_end(prepare(dataset, 1, streamed=False))
    assert found["mean"] == pytest.approx(trained.mean)
    assert found["std"] == pytest.approx(trained.std)
    images = sum(path.stat().st_size for path in (dataset.root / "cache").rglob("*-images.npy"))
    assert found["cache_bytes"] == images - 3 * 128  # less the header of each file


def test_half_of_the_images_are_at_least_of_the_suggested_size(tmp_path: Path) -> None:
    for number, side in enumerate((90, 100, 130, 140, 300)):
        for name in ("ants", "bees"):
            path = tmp_path / "photos" / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (side, 2 * side)).save(path)
    assert run_to_end(inspect(image_folder(tmp_path / "photos"))).suggested_size == 128


def test_the_command_prints_tables_or_json(photos: Path) -> None:
    told = CliRunner().invoke(data_app, ["inspect", str(photos), "data.size=16"])
    assert told.exit_code == 0
    for text in ("10 images (train)", "1.5 times the smallest", "broken.png", "notes.txt", "copy.png", "data.size=16"):
        assert text in told.stdout
    as_json = CliRunner().invoke(data_app, ["inspect", str(photos), "data.size=16", "--json"])
    assert json.loads(as_json.stdout)["size"] == 16
