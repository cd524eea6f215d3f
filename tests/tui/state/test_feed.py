from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.events import RunCompleted, RunEvent, StageStarted, StepCompleted
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext, run
from torchdeck.tui.state.feed import MAX_QUEUED, Feed

Small = Callable[..., ExperimentConfig]


def step(seq: int) -> StepCompleted:
    return StepCompleted(
        seq=seq, phase="train", epoch=1, step=seq, batch=1, batches=1, loss=1.0, mean_loss=1.0, accuracy=0.5, lr=0.1,
        images_per_second=1.0,
    )  # fmt: skip


def end(seq: int) -> RunCompleted:
    return RunCompleted(seq=seq, status="completed", reason="done", epoch=1, step=1, train_seconds=1.0)


def test_a_feed_folds_the_same_record_as_the_run_directory(
    small: Small, context: SessionContext, tmp_path: Path
) -> None:
    control = Control()
    feed = Feed(lambda: run(small(), tmp_path / "logs", control, context=context), control.request, own=True)
    feed.iterate()
    assert not feed.over
    feed.drain()
    assert feed.over
    assert feed.record.started is not None
    assert feed.record == load_record(tmp_path / "logs" / feed.record.started.run_id)
    assert any("epoch 3/3" in line for _, line in feed.lines)


def test_asking_for_a_stop_reaches_the_run(small: Small, context: SessionContext, tmp_path: Path) -> None:
    control = Control()
    feed = Feed(lambda: run(small(), tmp_path / "logs", control, context=context), control.request, own=True)
    feed.request("stop")
    feed.iterate()
    feed.drain()
    assert feed.record.status == "stopped"
    assert feed.record.reason == "requested in the app"


def test_what_nobody_drains_is_bounded_and_the_end_still_comes() -> None:
    def flood() -> Iterator[RunEvent]:
        yield from map(step, range(MAX_QUEUED + 500))
        yield end(MAX_QUEUED + 500)

    feed = Feed(flood, lambda *_: None, own=True)
    feed.iterate()
    events = feed.drain()
    assert len(events) == MAX_QUEUED + 1
    assert isinstance(events[-1], RunCompleted)


def test_a_feed_whose_run_raises_is_over_all_the_same() -> None:
    def broken() -> Iterator[RunEvent]:
        yield StageStarted(message="reading")
        raise RuntimeError("no torch")

    feed = Feed(broken, lambda *_: None, own=True)
    with pytest.raises(RuntimeError, match="no torch"):
        feed.iterate()
    feed.drain()
    assert feed.over
    assert feed.wait(60)
