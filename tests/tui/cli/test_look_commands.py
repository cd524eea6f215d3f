"""The groups of --help, time, confusion, and how a study ends on the command line."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import torchdeck
from torchdeck.tui.cli.command_groups import GROUPS
from torchdeck.tui.cli.main import app

SMALL = ("data.train_limit=60", "training.batch_size=20", "training.device=cpu", "training.epochs=3")


def output_of(*command: str, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, command)
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout, done.stderr


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A logs folder with one run of three epochs."""
    list(torchdeck.run("quickstart", *SMALL, logs=tmp_path))
    return tmp_path


def test_help_lists_every_command_once_in_its_group() -> None:
    shown, _ = output_of("--help")
    panels = re.findall(r"^╭─ ([\w ]+?) ─", shown, re.MULTILINE)
    assert panels == ["Options", *GROUPS]
    for name in (name for names in GROUPS.values() for name in names):
        assert len(re.findall(rf"^│ {name} ", shown, re.MULTILINE)) == 1, name


def test_the_confusion_matrix_of_a_run_counts_every_test_image_once(logs: Path) -> None:
    shown, _ = output_of("confusion", "@last", "--logs", str(logs))
    record = torchdeck.load_run("@last", logs=logs)
    assert record.best_confusion
    content = json.loads(output_of("confusion", "@last", "--logs", str(logs), "--json")[0])
    assert content["epoch"] == record.best_confusion.epoch
    assert sum(map(sum, content["confusion"])) == 364
    assert "true \\ predicted" in shown
    assert "Most frequent confusions" in shown
    assert "confusions" not in output_of("confusion", "@last", "--top", "0", "--logs", str(logs))[0]


def test_the_time_to_an_accuracy_is_on_the_clock_of_the_training_time(logs: Path) -> None:
    record = torchdeck.load_run("@last", logs=logs)
    ((_, reached),) = json.loads(output_of("time", "@last", "--json", "--logs", str(logs))[0]).items()
    assert reached
    assert all(item["train_seconds"] <= record.train_seconds for item in reached)
    for text in ("1%", "1.5", "0.01"):
        assert "epoch" in output_of("time", "@last", "--to", text, "--logs", str(logs))[0]
    assert "not reached" in output_of("time", "@last", "--to", "99.9%", "--logs", str(logs))[0]
    assert output_of("time", "@last", "--to", "fast", "--logs", str(logs), code=1)


def test_a_sweep_ends_with_the_ranking_and_the_next_commands(tmp_path: Path) -> None:
    shown, said = output_of("sweep", "quickstart", "optimizer.lr=0.01,1e-9", *SMALL, "--logs", str(tmp_path))
    assert shown.index("lr=0.01") < shown.index("lr=1e-09")
    assert "is optimistic" in shown
    assert "torchdeck study-result " in said
    assert re.search("torchdeck run quickstart .*optimizer.lr=0.01 ", said)
