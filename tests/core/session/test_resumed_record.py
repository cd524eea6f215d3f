"""A resumed run tells the whole truth in the process that resumes it, as the log on disk does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import AskAt

from torchdeck.core.api import SessionContext, resume, run
from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import CommandName
from torchdeck.core.events import HistoryLoaded, RunEvent, RunStarted, to_json
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.tui.cli.run_progress import PlainLines
from torchdeck.tui.state.feed import Feed

Made = Callable[..., ExperimentConfig]
EPOCHS = 4
BATCHES = 4
"""After each of an epoch, the last of which evaluates, control is looked at."""

OF_ATTEMPTS = {"seq", "t", "attempt", "run_id", "resumed_from", "created", "updated", "next_seq"}
OF_THE_CLOCK = {"images_per_second", "train_seconds", "seconds", "peak_memory", "manifest_sha256", "devices"}


def timeless(content: Any) -> Any:
    """What a record holds, without times and what tells one attempt from another."""
    if isinstance(content, dict):
        return {key: timeless(value) for key, value in content.items() if key not in OF_ATTEMPTS | OF_THE_CLOCK}
    return [timeless(item) for item in content] if isinstance(content, list) else content


def folded(events: list[RunEvent]) -> tuple[RunRecord, RunRecord]:
    """The records that a command and the app come to."""
    lines, feed = PlainLines(lambda _: None), Feed(lambda: iter(events), lambda *_: None, own=True)
    for event in events:
        lines.show(event)
    feed.iterate()
    feed.drain()
    return lines.record, feed.record


@pytest.mark.parametrize("stop", [("stop-after-epoch", n) for n in range(1, EPOCHS)] + [("stop", n) for n in (1, 3)])
def test_the_record_of_a_resumed_run_is_the_logs_and_that_of_an_undisturbed_run(
    small: Made, context: SessionContext, tmp_path: Path, stop: tuple[CommandName, int]
) -> None:
    config, (command, epoch) = small({"training.epochs": EPOCHS, "model.dropout": 0.3}), stop
    for name, control in (("stopped", AskAt({BATCHES * epoch - 2: command})), ("undisturbed", None)):
        list(run(config, tmp_path / name, control, context=context, run_id="x"))
    folder = tmp_path / "stopped" / "x"
    assert load_record(folder).status == "stopped"
    by_command, in_app = folded(list(resume(folder, context=context)))
    assert by_command == in_app == load_record(folder)
    undisturbed = load_record(tmp_path / "undisturbed" / "x")
    ends = {epoch.step for epoch in undisturbed.epochs}
    # A stop within an epoch makes a checkpoint more.
    by_command.checkpoints = [saved for saved in by_command.checkpoints if saved.step in ends]
    assert timeless(by_command.to_json()) == timeless(undisturbed.to_json())


def test_the_earlier_epochs_are_there_before_the_first_batch(
    small: Made, context: SessionContext, tmp_path: Path
) -> None:
    list(run(small(), tmp_path, AskAt({1: "stop-after-epoch"}), context=context, run_id="x"))
    events, record = resume(tmp_path / "x", context=context), RunRecord()
    for event in events:
        record.apply(event)
        if isinstance(event, RunStarted):
            break
    assert [epoch.epoch for epoch in record.epochs] == [1]
    assert record.status == "running"
    events.close()  # type: ignore[attr-defined]
    assert load_record(tmp_path / "x").reason == "abandoned"


def test_a_consumer_of_json_gets_the_earlier_epochs_too(small: Made, context: SessionContext, tmp_path: Path) -> None:
    list(run(small(), tmp_path, AskAt({5: "stop-after-epoch"}), context=context, run_id="x"))
    (history,) = [event for event in resume(tmp_path / "x", context=context) if isinstance(event, HistoryLoaded)]
    assert [epoch["epoch"] for epoch in to_json(history)["record"]["epochs"]] == [1, 2]
