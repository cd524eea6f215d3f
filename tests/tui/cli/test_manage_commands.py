"""tag, note, rm, restore, du, prune: what the app does to runs, from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import torchdeck
from torchdeck.core.runs.index import list_runs
from torchdeck.tui.cli.main import app

SMALL = ("data.train_limit=60", "training.batch_size=20", "training.device=cpu", "training.epochs=3")


def run(logs: Path, *command: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*command, "--logs", str(logs)])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A logs folder with two runs of three epochs."""
    for seed in (1, 2):
        list(torchdeck.run("quickstart", *SMALL, f"training.seed={seed}", logs=tmp_path))
    return tmp_path


def test_tags_and_notes_are_given_and_taken_back(logs: Path) -> None:
    assert run(logs, "tag", "@last", "paper", "draft").split() == ["paper", "draft"]
    assert run(logs, "tag", "@last", "--remove", "draft").split() == ["paper"]
    assert run(logs, "note", "@last", "too noisy") == run(logs, "note", "@last") == "too noisy\n"
    assert json.loads(run(logs, "tag", "@last", "--json"))["tags"] == ["paper"]
    assert run(logs, "note", "@last", "") == "\n"


def test_a_run_goes_to_the_trash_and_comes_back_until_the_trash_is_emptied(logs: Path) -> None:
    first, last = (row.id for row in list_runs(logs))
    assert run(logs, "rm", first, "@last").split() == [first, last]
    assert list_runs(logs) == []
    assert run(logs, "restore", first[-4:]).split() == [first]
    run(logs, "prune", "--trash")
    with pytest.raises(AssertionError, match="no run"):
        run(logs, "restore", last)
    assert [row.id for row in list_runs(logs)] == [first]


def test_pruning_leaves_the_best_checkpoint_of_a_completed_run(logs: Path) -> None:
    best = torchdeck.load_run("@last", logs=logs).best_saved
    before = json.loads(run(logs, "du", "--json"))
    planned = json.loads(run(logs, "prune", "--dry-run", "--json"))
    assert json.loads(run(logs, "du", "--json")) == before
    done = json.loads(run(logs, "prune", "--json"))
    assert done == {**planned, "dry_run": False}
    left = sorted(path.name for path in (list_runs(logs)[-1].folder / "checkpoints").iterdir())
    assert left == [f"step-{best:08d}"]
    after = {use["run"]: use["checkpoints"] for use in json.loads(run(logs, "du", "--json"))}
    assert sum(use["checkpoints"] for use in before) - sum(after.values()) == done["bytes"]


def test_pruning_leaves_what_a_stopped_run_resumes_from(tmp_path: Path) -> None:
    events = torchdeck.run("quickstart", *SMALL, logs=tmp_path)
    next(event for event in events if type(event).__name__ == "CheckpointSaved")
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    newest = sorted((list_runs(tmp_path)[0].folder / "checkpoints").iterdir())[-1]
    run(tmp_path, "prune", "--no-keep-best")
    assert newest.exists()
    assert type(list(torchdeck.resume("@last", logs=tmp_path))[-1]).__name__ == "RunCompleted"


def test_only_runs_that_match_and_are_old_enough_are_pruned(logs: Path) -> None:
    assert json.loads(run(logs, "prune", "--older-than", "1d", "--json"))["runs"] == {}
    assert json.loads(run(logs, "prune", "preset:lenet", "--json"))["runs"] == {}
    assert json.loads(run(logs, "prune", "--older-than", "0.001s", "--json"))["runs"]
    run(logs, "prune", "--older-than", "3weeks", code=1)
