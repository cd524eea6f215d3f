import itertools
from pathlib import Path

import pytest

from torchdeck.core.control import Control
from torchdeck.core.events import WarningRaised
from torchdeck.core.session.suspend_detector import (
    MAX_DELAY_SECONDS,
    TICK_SECONDS,
    SuspendDetector,
    seconds_waited_for_a_cpu,
)
from torchdeck.core.training.pacing import Pacer


def test_only_a_heart_that_missed_its_beats_for_long_tells_of_it() -> None:
    beats = [0.0, 1.0, 1.0, 1.0 + MAX_DELAY_SECONDS / TICK_SECONDS, 1.0, 41.0 / TICK_SECONDS + 1.0]
    times = (beat * TICK_SECONDS for beat in itertools.accumulate(beats))
    heart = SuspendDetector(lambda: next(times), lambda: 0.0)
    for _ in range(4):
        heart.tick()
    assert heart.take_suspended_seconds() == 0
    heart.tick()
    assert heart.take_suspended_seconds() == 41
    assert heart.take_suspended_seconds() == 0


def test_a_process_that_waits_for_a_busy_machine_is_not_suspended() -> None:
    times, waited = iter([0.0, 20.0, 40.0]), iter([100.0, 119.0, 119.0])
    heart = SuspendDetector(lambda: next(times), lambda: next(waited))
    heart.tick()
    assert heart.take_suspended_seconds() == 0
    heart.tick()
    assert heart.take_suspended_seconds() == 20.0 - TICK_SECONDS


def test_the_system_tells_how_long_threads_waited_for_a_cpu() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this system does not count it")
    before = seconds_waited_for_a_cpu()
    assert 0 < before <= seconds_waited_for_a_cpu()


def test_a_suspended_training_is_told_of_and_not_counted_as_trained() -> None:
    pauses, ticks = iter([0.0, 40.0, 0.0]), iter(range(1000))
    pacer = Pacer(
        Control(), lambda: float(next(ticks)), 0.1, lambda _: iter(()), take_suspended_seconds=lambda: next(pauses)
    )
    assert list(pacer.commands(1)) == []
    assert list(pacer.commands(2)) == [WarningRaised(message="the process was suspended for 40 s")]
    assert pacer.paused_seconds == 40
    assert list(pacer.commands(3)) == []
