import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.errors import InputError
from torchdeck.core.events import RunEvent
from torchdeck.core.runs.index import RunRow, find_run, list_runs, parse_filter
from torchdeck.core.runs.writer import claim, reopen

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]


def row(**changes: Any) -> RunRow:
    header = {
        "preset": "vgg-a", "name": "first try", "tags": ["paper"], "created": 100.0,
        "config": {"model": {"name": "vgg-a"}, "data": {"name": "cifar10"}, "optimizer": {"name": "adam", "lr": 0.01},
                   "training": {"compile": False}},
    }  # fmt: skip
    summary = {"best": {"test/accuracy": 0.85}, "final": {"test/accuracy": 0.84}, "epoch": 12}
    made = {"id": "20260101-000000-vgg-a-abcd", "folder": Path("x"), "status": "completed", **changes}
    return RunRow(**made, header=header, summary=summary)


def made_run(
    logs: Path, name: str, preset: str, created: float, accuracy: float | None, status: str = "completed"
) -> Path:
    writer = claim(logs, name, {"preset": preset, "created": created, "config": {}})
    best = {"test/accuracy": accuracy} if accuracy is not None else {}
    (writer.folder / "summary.json").write_text(json.dumps({"status": status, "best": best}))
    writer.close()
    return writer.folder


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    made_run(tmp_path, "20260101-000000-lenet-aaaa", "lenet", 1, 0.61)
    made_run(tmp_path, "20260102-000000-lenet-bbbb", "lenet", 2, 0.64)
    made_run(tmp_path, "20260103-000000-vgg-a-cccc", "vgg-a", 3, None, "failed")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("20260102-000000-lenet-bbbb", "bbbb"),
        ("20260102", "bbbb"),
        ("cccc", "cccc"),
        ("@last", "cccc"),
        ("@best:lenet", "bbbb"),
    ],
)
def test_a_reference_finds_its_run(logs: Path, reference: str, wanted: str) -> None:
    assert find_run(logs, reference).id.endswith(wanted)


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("2026", "matches 3 runs"),
        ("zzzz", "no run 'zzzz'"),
        ("@best", "use an id, @last or @best:PRESET"),
        ("@best:lenett", "did you mean 'lenet'?"),
        ("@first", "use an id, @last or @best:PRESET"),
        ("../../etc", "no run"),
        ("", "no run"),
    ],
)
def test_a_reference_that_means_no_one_run_is_told(logs: Path, reference: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        find_run(logs, reference)
    assert told in str(caught.value)


def test_an_empty_logs_folder_names_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="torchdeck run quickstart"):
        find_run(tmp_path, "@last")
    assert list_runs(tmp_path / "nowhere") == []


def test_the_status_is_the_locks_where_nothing_ended(logs: Path) -> None:
    made_run(logs, "20260104-000000-lenet-dddd", "lenet", 4, 0.1, "running")
    assert list_runs(logs)[-1].status == "died"
    writer = reopen(logs / "20260104-000000-lenet-dddd")
    assert list_runs(logs)[-1].status == "running"
    writer.close()


def test_a_run_that_is_at_work_again_runs_whatever_its_summary_says(logs: Path) -> None:
    writer = reopen(logs / "20260103-000000-vgg-a-cccc")
    assert find_run(logs, "cccc").status == "running"
    writer.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"min_reader": 99, "preset": "lenet"}', '{"min_reader": "x"}'])
def test_a_damaged_or_newer_run_is_shown_as_such(logs: Path, content: str) -> None:
    (logs / "20260103-000000-vgg-a-cccc" / "run.json").write_text(content)
    (seen,) = [found for found in list_runs(logs) if found.id.endswith("cccc")]
    assert seen.status == "unreadable"
    assert seen.problem
    assert len(list_runs(logs)) == 3


def test_what_is_no_run_is_not_listed(logs: Path) -> None:
    (logs / "notes.txt").write_text("x")
    (logs / "folder").mkdir()
    os.mkfifo(logs / "pipe")
    assert len(list_runs(logs)) == 3


@pytest.mark.parametrize(
    "text",
    [
        "", "vgg", "VGG cifar10", "first", "paper", "status:done", "status:completed", "tag:paper", "preset:vgg-a",
        "optimizer.lr<0.1", "optimizer.lr<=0.01", "optimizer.lr=0.01", "test/accuracy>0.8", "test/accuracy>=0.85",
        "optimizer.name:adam", "optimizer.name!=sgd", "epoch>10", "vgg status:done optimizer.lr<0.1 tag:paper",
        "training.compile:false", "test/accuracy>80%", "test/accuracy<=85%", "id:abcd", "id:20260101", "id:vgg-a",
    ],
)  # fmt: skip
def test_a_filter_lets_a_run_through(text: str) -> None:
    assert parse_filter(text)(row())


@pytest.mark.parametrize(
    "text",
    ["lenet", "status:failed", "tag:pape", "optimizer.lr>0.01", "test/accuracy>0.9", "model.depth>3", "vgg tag:x",
     "optimizer.name:sgd", "optimizer.lr<fast", "validation/loss<9", "test/accuracy>90%", "study:5uu9"],
)  # fmt: skip
def test_a_filter_keeps_a_run_out(text: str) -> None:
    assert not parse_filter(text)(row())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("statu:done", "did you mean 'status'?"),
        ("epoch>", "write epoch>VALUE"),
        ("status:finished", "no status 'finished'"),
        ("test/accuracy>60", "write 60%"),
        ("test/accuracy>good", "'good' is not a number"),
    ],
)
def test_a_filter_that_means_nothing_is_told(text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_filter(text)
    assert told in str(caught.value)


def test_a_real_run_is_listed_with_its_figures(small: Made, train: Train, tmp_path: Path) -> None:
    train(small(), preset="lenet", tags=("x",))
    (found,) = list_runs(tmp_path / "logs")
    assert (found.status, found.preset, found.tags) == ("completed", "lenet", ("x",))
    assert found.figure("test/accuracy") == max(found.summary["best"]["test/accuracy"], 0)
    assert found.to_json()["config"]["model"]["name"] == "lenet"
