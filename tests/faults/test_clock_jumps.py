"""A wall clock that is put back or forward moves no duration, no order and no time left."""

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from fault_counts import Faults

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import EpochCompleted, RunEvent
from torchdeck.core.runs.index import RunIndex
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.runs.record import RunRecord
from torchdeck.core.session.session import SessionContext, run
from torchdeck.tui.format.bars import epoch_seconds_left, run_seconds_left
from torchdeck.tui.format.event_lines import lines_of
from torchdeck.tui.format.values import moment, time_of_day
from torchdeck.tui.summaries.run_columns import age

Made = Callable[..., ExperimentConfig]

NOON = 1_800_000_000.0
JUMPS = {
    "back an hour": -3600.0,
    "back to 1970": -NOON + 5,
    "forward a decade": 3.2e8,
    "before 1970": -2 * NOON,
}


class JumpingClock:
    """The wall clock of somebody who sets it wrong and right again: a second a look, and a jump at every seventh."""

    def __init__(self, jump: float) -> None:
        self.jump, self.looks, self.jumped = jump, 0, False

    def __call__(self) -> float:
        self.looks += 1
        self.jumped ^= self.looks % 7 == 0
        return NOON + self.looks + (self.jump if self.jumped else 0)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_moves_nothing_but_the_time_of_day(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, jump: str
) -> None:
    around = dataclasses.replace(context, now=JumpingClock(JUMPS[jump]))
    told: list[RunEvent] = []
    live = RunRecord()
    for event in run(small(), tmp_path / "logs", context=around):
        told.append(event)
        live.apply(event)
        lefts = (epoch_seconds_left(live), run_seconds_left(live))
        assert all(left is None or 0 <= left < 60 for left in lefts), event
        assert all(line.isprintable() for line in lines_of(event, live))
    faults("clock jumps", around.now.looks // 7)  # type: ignore[attr-defined]
    assert any(later.t < event.t for event, later in pairwise(told)), "the clock was never put back"
    (folder,) = (tmp_path / "logs").iterdir()
    read = list(EventReader(folder).read())
    assert [event.seq for event in read] == list(range(len(told)))
    epochs = [event for event in read if isinstance(event, EpochCompleted)]
    assert all(0 < event.train_seconds <= event.seconds < 60 for event in epochs)
    assert load_record(folder) == live
    assert live.status == "completed"
    (row,) = RunIndex(tmp_path / "logs").rows()
    assert row.status == "completed"


@pytest.mark.parametrize("jump", JUMPS)
def test_the_cache_of_a_run_keeps_up_with_a_clock_that_is_put_back(
    small: Made, tmp_path: Path, context: SessionContext, faults: Faults, jump: str
) -> None:
    around = dataclasses.replace(context, now=JumpingClock(JUMPS[jump]))
    reached: list[int] = []
    for event in run(small({"training.epochs": 6}), tmp_path / "logs", context=around):
        if isinstance(event, EpochCompleted):
            (folder,) = (tmp_path / "logs").iterdir()
            cache = folder / "curves.json"
            reached.append(json.loads(cache.read_text())["offset"] if cache.exists() else 0)
    faults("clock jumps", around.now.looks // 7)  # type: ignore[attr-defined]
    assert len(set(reached)) > 2


@pytest.mark.parametrize("t", [0.0, -1.0, -1e18, 1e18, 1e299, float("nan"), float("inf"), NOON])
def test_any_time_has_a_text(t: float) -> None:
    assert time_of_day(t).count(":") == 2
    assert moment(t)
    assert "-" not in age(NOON - t) or t != t


def test_a_run_of_the_future_is_of_now() -> None:
    assert age(-3600) == "now"
