from collections.abc import Callable
from pathlib import Path

import pytest

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.devices.torch_device import device_name
from torchdeck.core.errors import RunError
from torchdeck.core.runs.index import list_runs
from torchdeck.core.training.estimate import from_runs, measure
from torchdeck.core.training.plan import make_plan

pytestmark = pytest.mark.usefixtures("forked_programs")

Small = Callable[..., ExperimentConfig]


def test_the_time_is_known_from_an_earlier_run_of_the_same_work(small: Small, train: object, tmp_path: Path) -> None:
    train(small())  # type: ignore[operator]
    rows = list_runs(tmp_path / "logs")
    plan = make_plan(small({"training.epochs": 9, "training.seed": 5}), tmp_path)
    found = from_runs(plan.config, device_name(plan.device), rows)
    assert found is not None
    assert found.source == "1 earlier run"
    assert found.seconds_per_epoch == pytest.approx(float(rows[0].summary["seconds"]) / 3)


@pytest.mark.parametrize("change", [{"training.batch_size": 16}, {"data.train_images": 90}, {"model.dropout": 0.5}])
def test_other_work_tells_nothing_of_the_time(small: Small, train: object, tmp_path: Path, change: object) -> None:
    train(small())  # type: ignore[operator]
    plan = make_plan(small(change), tmp_path)
    assert from_runs(plan.config, device_name(plan.device), list_runs(tmp_path / "logs")) is None
    assert from_runs(make_plan(small(), tmp_path).config, "another device", list_runs(tmp_path / "logs")) is None


def test_a_warm_up_in_a_child_process_measures_an_epoch_and_leaves_nothing(small: Small, tmp_path: Path) -> None:
    found = measure(small(), tmp_path)
    assert found.source == "measured"
    assert 0 < found.seconds_per_epoch < 60
    assert not list(tmp_path.iterdir())


def test_a_warm_up_that_fails_says_why(small: Small, tmp_path: Path) -> None:
    missing = small({"data.name": "image-folder", "data.path": "nowhere", "data.download": False})
    with pytest.raises(RunError, match="nowhere"):
        measure(missing, tmp_path)
