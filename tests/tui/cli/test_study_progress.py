"""What a person and a script see of a study while it runs, and the exit code it leaves with."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from torchdeck import presets
from torchdeck.core.events import EpochCompleted, Failure, RunStarted, StageStarted
from torchdeck.core.studies.events import (
    RunEnded,
    RunEventForwarded,
    RunStartedInStudy,
    StudyEnded,
    StudyEvent,
    StudyStarted,
    StudyWarned,
    study_event_json,
)
from torchdeck.core.studies.model import Study
from torchdeck.presets.study_presets import grid_study
from torchdeck.tui.cli.headless import JsonLines
from torchdeck.tui.cli.study_progress import StudyLines, StudyTable, study_exit_code, visible_runs


@pytest.fixture
def study() -> Study:
    made = grid_study(presets.load("quickstart"), ["optimizer.lr=0.1,0.2,0.3"])
    return replace(made, study_id="20260101-000000-quickstart-sweep-abcd")


def events_of(study: Study) -> list[StudyEvent]:
    """Two runs: one pruned with its reason, one that failed with a control character in its message."""
    begun, failed = replace(study.runs[0], run_id="run-0", state="running"), replace(study.runs[1], state="failed")
    pruned = replace(begun, state="pruned", reason="worse than the median at epoch 5 by 3.1 points")
    failed = replace(failed, reason="no \x1b[31mmemory")
    metrics = {"test/accuracy": 0.5123}
    epoch = EpochCompleted(
        epoch=5, step=5, metrics=metrics, lr=0.1, images_per_second=1, train_seconds=61, seconds=70, best=True,
        step_losses=b"",
    )  # fmt: skip
    start = RunStarted(
        run_id="run-0", resumed_from=None, preset="quickstart", name="", reported=(), config={}, device="cpu",
        device_name="", parameters=1, forward_flops=1, epochs=9, steps_per_epoch=1, train_images=1, test_images=1,
        class_names=(), chosen_on="test", reproducible="exact",
    )  # fmt: skip
    ended = study.with_run(pruned).with_run(failed)
    return [
        StudyStarted(study, ("cpu 1", "cpu 2")),
        StudyWarned("waiting"),
        RunStartedInStudy(begun, "cpu 1", resumed=False),
        RunEventForwarded(0, "run-0", StageStarted(message="reading digits")),
        RunEventForwarded(0, "run-0", start),
        RunEventForwarded(0, "run-0", epoch),
        RunEnded(failed),
        RunEnded(pruned),
        StudyEnded(ended, "stopped", "the time budget is used up"),
    ]


def test_the_live_table_shows_each_run_and_why_it_ended(study: Study, tmp_path: Path) -> None:
    screen = io.StringIO()
    table = StudyTable(Console(file=screen, force_terminal=True, width=140, height=30), tmp_path)
    for event in events_of(study):
        table._drawn = 0.0
        table.show(event)
    table.close()
    text = screen.getvalue()
    for wanted in (
        "reading digits",
        "5/9",
        "51.23 %",
        "1:01",
        "worse than the median at epoch 5 by 3.1 points",
        "waiting",
    ):
        assert wanted in text
    assert "resume with: torchdeck study 20260101-000000-quickstart-sweep-abcd" in text
    assert "\x1b[31mmemory" not in text


def test_plain_lines_tell_what_happened(study: Study, tmp_path: Path) -> None:
    shown = io.StringIO()
    with redirect_stderr(shown):
        lines = StudyLines(tmp_path)
        for event in events_of(study):
            lines.show(event)
    text = shown.getvalue()
    assert "run 0 (lr=0.1) starts on cpu 1: run-0" in text
    assert "run 0 (lr=0.1) epoch 5/9  test 51.23 %" in text
    assert "run 0 (lr=0.1) pruned: worse than the median" in text
    assert "run 1 (lr=0.2) failed: no [31mmemory" in text
    assert "3 runs, 1 failed, 1 pruned: the time budget is used up" in text
    assert "--retry-failed" in text


def test_json_lines_are_one_object_an_event(study: Study) -> None:
    shown = io.StringIO()
    with redirect_stdout(shown):
        for event in events_of(study):
            JsonLines(study_event_json).show(event)
    lines = [json.loads(line) for line in shown.getvalue().splitlines()]
    assert [line["kind"] for line in lines[:3]] == ["StudyStarted", "StudyWarned", "RunBegan"]
    assert lines[2]["overrides"] == {"optimizer.lr": 0.1}
    assert lines[5]["event"]["metrics"] == {"test/accuracy": 0.5123}
    assert lines[-1]["runs"] == {"waiting": 1, "running": 0, "completed": 0, "failed": 1, "pruned": 1, "stopped": 0}


@pytest.mark.parametrize(
    ("last", "number", "code"),
    [
        (StudyEnded(None, "completed"), None, 0),
        (StudyEnded(None, "completed"), 2, 0),
        (StudyEnded(None, "failed"), None, 1),
        (StudyEnded(None, "stopped"), None, 75),
        (StudyEnded(None, "stopped"), 2, 130),
        (StudyEnded(None, "failed", "", Failure("input", "X", "")), None, 2),
        (StudyEnded(None, "failed", "", Failure("busy", "X", "")), None, 3),
        (StudyEnded(None, "failed", "", Failure("crash", "X", "")), 2, 1),
        (None, None, 1),
    ],
)
def test_the_last_event_of_a_study_is_the_exit_code(last: StudyEvent | None, number: int | None, code: int) -> None:
    assert study_exit_code(last, number) == code


def test_of_many_runs_those_that_train_and_the_latest_are_shown(study: Study) -> None:
    states = ["completed", "completed", "running", "completed", "waiting", "waiting"]
    runs = [replace(study.runs[0], number=at, state=state) for at, state in enumerate(states)]  # type: ignore[arg-type]
    assert [run.number for run in visible_runs(runs, 3)] == [1, 2, 3]
    assert [run.number for run in visible_runs(runs, 9)] == list(range(6))
