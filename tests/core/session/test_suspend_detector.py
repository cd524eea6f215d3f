import itertools

from torchdeck.core.control import Control
from torchdeck.core.events import WarningRaised
from torchdeck.core.session.suspend_detector import BEAT_SECONDS, LONGEST_STUTTER, Heart
from torchdeck.core.training.pacing import Watch


def test_only_a_heart_that_missed_its_beats_for_long_tells_of_it() -> None:
    beats = [0.0, 1.0, 1.0, 1.0 + LONGEST_STUTTER / BEAT_SECONDS, 1.0, 41.0 / BEAT_SECONDS + 1.0]
    times = (beat * BEAT_SECONDS for beat in itertools.accumulate(beats))
    heart = Heart(lambda: next(times))
    for _ in range(4):
        heart.beat()
    assert heart.stood_still() == 0
    heart.beat()
    assert heart.stood_still() == 41
    assert heart.stood_still() == 0


def test_a_suspended_training_is_told_of_and_not_counted_as_trained() -> None:
    pauses, ticks = iter([0.0, 40.0, 0.0]), iter(range(1000))
    watch = Watch(Control(), lambda: float(next(ticks)), 0.1, lambda _: iter(()), stood_still=lambda: next(pauses))
    assert list(watch.commands(1)) == []
    assert list(watch.commands(2)) == [WarningRaised(message="the process was suspended for 40 s")]
    assert watch.held == 40
    assert list(watch.commands(3)) == []
