"""A run is asked for something by its directory, as from another process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.errors import LogsError
from torchdeck.core.events import CheckpointSaved, CommandApplied, RunCompleted, RunEvent, RunStarted
from torchdeck.core.runs.commands import send_and_wait
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.writer import reopen
from torchdeck.core.session.session import SessionContext, run
from torchdeck.tui.cli.main import app

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]


@pytest.fixture
def active(small: Made, tmp_path: Path) -> Iterator[Path]:
    """The directory of a run that trains in a thread for longer than any test lasts."""
    control, began, found = Control(), threading.Event(), list[Path]()

    def go() -> None:
        config = small({"training.epochs": 100_000})
        for event in run(config, tmp_path / "logs", control, context=SessionContext(tmp_path / "data")):
            if isinstance(event, RunStarted):
                found.append(tmp_path / "logs" / event.run_id)
                began.set()

    thread = threading.Thread(target=go)
    thread.start()
    assert began.wait(60)
    yield found[0]
    control.request("stop")
    thread.join(60)
    assert not thread.is_alive()


def told(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a command and the JSON that it prints."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_each_command_waits_until_the_run_has_obeyed(active: Path) -> None:
    paused = send_and_wait(active, "pause")
    assert isinstance(paused, CommandApplied)
    assert load_record(active).status == "paused"
    saved = send_and_wait(active, "checkpoint")
    assert isinstance(saved, CheckpointSaved)
    assert saved.step == paused.step
    assert isinstance(send_and_wait(active, "unpause"), CommandApplied)
    stopped = send_and_wait(active, "stop-after-epoch")
    assert isinstance(stopped, RunCompleted)
    assert stopped.status == "stopped"
    assert stopped.step % 3 == 0
    assert load_record(active).status == "stopped"


def test_the_commands_say_what_the_run_did(active: Path) -> None:
    logs = ["--logs", str(active.parent)]
    code, paused = told("pause", "@last", *logs)
    assert (code, paused["done"], paused["run_id"]) == (0, True, active.name)
    code, saved = told("checkpoint", active.name[-4:], *logs)
    assert (code, saved["step"]) == (0, paused["step"])
    code, stopped = told("stop", "@last", *logs)
    assert code == 0
    assert stopped["told"].startswith(f"stopped at step {paused['step']}")


@pytest.mark.parametrize("command", ["stop", "pause", "checkpoint"])
def test_a_run_that_is_not_active_cannot_be_asked(small: Made, train: Train, the_run: TheRun, command: str) -> None:
    train(small())
    result = CliRunner().invoke(app, [command, "@last", "--logs", str(the_run().parent)])
    assert isinstance(result.exception, LogsError)
    assert "its status is completed" in str(result.exception)
    assert list((the_run() / "control").glob("*")) == []


def test_a_run_whose_process_dies_before_it_obeys_is_told(small: Made, train: Train, the_run: TheRun) -> None:
    control = Control()
    control.request("stop")
    train(small(), control)
    writer = reopen(the_run())
    assert send_and_wait(the_run(), "pause", wait=lambda _: writer.close()) is None


def test_a_request_in_the_instant_of_a_hand_over_waits_for_the_next_process(
    small: Made, tmp_path: Path, the_run: TheRun
) -> None:
    control = Control()
    control.request("hand-over")
    context = SessionContext(tmp_path / "data")
    list(run(small(), tmp_path / "logs", control, context=context))
    writers: list[Any] = []
    ended = RunCompleted(seq=1_000, status="stopped", reason="asked", epoch=0, step=1, train_seconds=0)

    def wait(_: float) -> None:
        if not writers:
            writers.append(reopen(the_run(), keep_commands=True))
        elif (the_run() / "control" / "stop").exists():
            writers[0].append(ended)

    assert send_and_wait(the_run(), "stop", wait=wait) == ended
    writers[0].close()


def test_attach_shows_the_whole_curve_of_a_run_that_ended(small: Made, train: Train, the_run: TheRun) -> None:
    events = train(small())
    result = CliRunner().invoke(app, ["attach", "@last", "--json", "--logs", str(the_run().parent)])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [line["kind"] for line in lines] == [type(event).__name__ for event in events]
    assert [line["seq"] for line in lines] == [event.seq for event in events]


def test_attach_tells_of_a_run_whose_process_is_gone(small: Made, train: Train, the_run: TheRun) -> None:
    control = Control()
    control.request("hand-over")
    train(small(), control)
    (the_run() / "events.jsonl").write_bytes(
        b"".join((the_run() / "events.jsonl").read_bytes().splitlines(keepends=True)[:-1])
    )
    result = CliRunner().invoke(app, ["attach", "@last", "--logs", str(the_run().parent)])
    assert result.exit_code == 1
    assert f"torchdeck resume {the_run().name}" in result.stderr
