import itertools

from torchdeck.core.control import Control
from torchdeck.core.events import WarningRaised
from torchdeck.core.session.suspend_detector import MAX_DELAY_SECONDS, TICK_SECONDS, SuspendDetector
from torchdeck.core.training.pacing import Pacer


def test_only_a_heart_that_missed_its_beats_for_long_tells_of_it() -> None:
    beats = [0.0, 1.0, 1.0, 1.0 + MAX_DELAY_SECONDS / TICK_SECONDS, 1.0, 41.0 / TICK_SECONDS + 1.0]
    times = (beat * TICK_SECONDS for beat in itertools.accumulate(beats))
    heart = SuspendDetector(lambda: next(times))
    for _ in range(4):
        heart.tick()
    assert heart.take_suspended_seconds() == 0
    heart.tick()
    assert heart.take_suspended_seconds() == 41
    assert heart.take_suspended_seconds() == 0


def test_a_suspended_training_is_told_of_and_not_counted_as_trained() -> None:
    pauses, ticks = iter([0.0, 40.0, 0.0]), iter(range(1000))
    pacer = Pacer(
        Control(), lambda: float(next(ticks)), 0.1, lambda _: iter(()), take_suspended_seconds=lambda: next(pauses)
    )
    assert list(pacer.commands(1)) == []
    assert list(pacer.commands(2)) == [WarningRaised(message="the process was suspended for 40 s")]
    assert pacer.paused_seconds == 40
    assert list(pacer.commands(3)) == []
