"""The model of a run on images that it was not trained with: predict and evaluate."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.errors import ConfigError, DataError, InputError
from torchdeck.core.events import RunEvent
from torchdeck.core.results.evaluation import evaluate
from torchdeck.core.results.prediction import image_files, predict_files
from torchdeck.core.results.predictions import read_predictions
from torchdeck.core.results.trained_model import load_trained
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext
from torchdeck.core.utils.generators import run_to_end

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]
COLORS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 30)}


def paint(folder: Path, names: dict[str, tuple[int, int, int]], count: int, seed: int = 0) -> None:
    """Images of one colour each and a little noise, in a folder for each class."""
    random = np.random.default_rng(seed)
    for name, color in names.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.clip(np.array(color) + random.integers(-20, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(params=["pad", "center"])
def run_folder(request: pytest.FixtureRequest, tmp_path: Path, small: Made, train: Train, the_run: TheRun) -> Path:
    """A run that tells three colours apart."""
    paint(tmp_path / "data" / "colors", COLORS, 20)
    settings = {"data.name": "image-folder", "data.path": "colors", "data.size": 16, "data.crop": request.param}
    train(small({**settings, "training.epochs": 3, "training.batch_size": 8}))
    return the_run()


def test_files_and_folders_are_classified_as_in_training(run_folder: Path, tmp_path: Path) -> None:
    paint(tmp_path / "new", COLORS, 2, seed=7)
    (tmp_path / "new" / "broken.png").write_bytes(b"no picture")
    found = list(predict_files(load_trained(run_folder), image_files([str(tmp_path / "new")]), top=2))
    assert [(item.path.parent.name, item.classes[0][0]) for item in found if not item.problem] == [
        (name, name) for name in COLORS for _ in range(2)
    ]
    assert [item.path.name for item in found if item.problem] == ["broken.png"]
    for item in found:
        shares = [share for _, share in item.classes]
        assert len(shares) in (0, 2)
        assert shares == sorted(shares, reverse=True)


def test_a_path_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        list(image_files([str(tmp_path / "nowhere")]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has no images"):
        list(image_files([str(tmp_path / "empty")]))


def test_the_runs_own_test_images_give_its_own_figures(run_folder: Path, context: SessionContext) -> None:
    trained = load_trained(run_folder)
    found = run_to_end(evaluate(trained, run_folder, [], context.data_root))
    best = load_record(run_folder).best
    assert best is not None
    assert found.accuracy == best.metrics["test/accuracy"]
    assert found.loss == pytest.approx(best.metrics["test/loss"], rel=1e-4)
    assert found.images == sum(map(sum, found.confusion))


def test_other_images_of_some_classes_are_evaluated_and_recorded(
    run_folder: Path, tmp_path: Path, context: SessionContext
) -> None:
    paint(tmp_path / "new", {"green": COLORS["red"], "red": COLORS["red"]}, 5, seed=3)
    trained = load_trained(run_folder)
    found = run_to_end(evaluate(trained, run_folder, [f"data.path={tmp_path / 'new'}"], context.data_root))
    assert (found.images, found.accuracy) == (10, 0.5)
    assert found.confusion == ((0, 0, 0), (0, 0, 5), (0, 0, 5))
    (place,) = (run_folder / "evaluations").iterdir()
    assert json.loads((place / "evaluation.json").read_text())["accuracy"] == 0.5
    kept = read_predictions(place, len(trained.classes))
    assert kept.names is not None
    names = [name.partition("/")[0] for name in kept.names.paths]
    assert [trained.classes[label] for label in kept.labels] == names
    assert sorted(names) == ["green"] * 5 + ["red"] * 5


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["data.path=nowhere"], DataError, "nowhere is not in"),
        (["optimizer.lr=1"], ConfigError, "no setting of the data"),
        (["data.path=other"], DataError, "the run knows no class 'class-0' and 1 more"),
    ],
)
def test_images_that_cannot_be_evaluated_are_refused(
    run_folder: Path, context: SessionContext, overrides: list[str], error: type[Exception], message: str
) -> None:
    paint(context.data_root / "other", {f"class-{index}": (9, 9, 9) for index in range(2)}, 2)
    with pytest.raises(error, match=message):
        run_to_end(evaluate(load_trained(run_folder), run_folder, overrides, context.data_root))
    assert not (run_folder / "evaluations").exists()
