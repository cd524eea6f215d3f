import os
import signal
import threading
from collections.abc import Iterator

import pytest

from torchdeck.tui.terminal.shutdown import ExitTimeouts, ShutdownHandler, handle_signals

TIMEOUT = 30


class Leaves:
    """A run and a screen that end when a test says so."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.over, self.asked_for, self.back = threading.Event(), threading.Event(), threading.Event()

    def request_exit(self, number: int) -> None:
        self.asked.append(number)
        self.asked_for.set()

    def wait_for_end(self, seconds: float) -> bool:
        return self.over.wait(seconds)

    def exit_code(self, number: int) -> int:
        return 128 + number

    def restore_terminal(self) -> None:
        self.back.set()


class Left:
    """What the process would have ended with."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.left = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self.left.set()


@pytest.fixture
def leaves() -> Iterator[Leaves]:
    made = Leaves()
    yield made
    made.over.set()


def test_the_run_is_asked_to_end_at_the_first_signal_and_left_at_the_second(leaves: Leaves) -> None:
    left = Left()
    handler = ShutdownHandler(leaves, left, ExitTimeouts(repeat=0))
    handler.on_signal(signal.SIGTERM, None)
    assert leaves.asked_for.wait(TIMEOUT)
    assert not left.codes
    handler.on_signal(signal.SIGINT, None)
    assert left.left.wait(TIMEOUT)
    handler.close()
    assert (leaves.asked, left.codes) == ([signal.SIGTERM], [130])
    assert leaves.back.is_set()


def test_a_signal_that_is_sent_twice_at_once_is_meant_once(leaves: Leaves) -> None:
    left = Left()
    handler = ShutdownHandler(leaves, left, ExitTimeouts(repeat=TIMEOUT))
    for _ in range(3):
        handler.on_signal(signal.SIGTERM, None)
    handler.close()
    assert (leaves.asked, left.codes) == ([signal.SIGTERM], [])


def test_a_hang_up_that_follows_another_signal_hurries_nothing(leaves: Leaves) -> None:
    left = Left()
    handler = ShutdownHandler(leaves, left, ExitTimeouts(repeat=0))
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        handler.on_signal(number, None)
    handler.close()
    assert (leaves.asked, left.codes) == ([signal.SIGHUP], [])


def test_a_screen_that_hangs_after_the_run_is_left(leaves: Leaves) -> None:
    left = Left()
    handler = ShutdownHandler(leaves, left, ExitTimeouts(screen=0.01))
    handler.on_signal(signal.SIGHUP, None)
    leaves.over.set()
    assert left.left.wait(TIMEOUT)
    handler.close()
    assert left.codes == [129]
    assert leaves.back.is_set()


def test_a_run_that_hangs_in_one_batch_is_left(leaves: Leaves) -> None:
    left = Left()
    handler = ShutdownHandler(leaves, left, ExitTimeouts(run=0.01))
    handler.on_signal(signal.SIGTERM, None)
    assert left.left.wait(TIMEOUT)
    handler.close()
    assert left.codes == [143]


def test_what_still_shows_the_run_is_given_its_time(leaves: Leaves) -> None:
    left = Left()
    handler = ShutdownHandler(leaves, left, ExitTimeouts(screen=0.01))
    progress = iter([1, 2, 3, 3])
    handler.exit_when_stuck(1, lambda: next(progress))
    assert left.left.wait(TIMEOUT)
    handler.close()
    assert left.codes == [1]
    assert list(progress) == []


def test_a_forked_child_has_no_part_in_the_signals_of_its_parent(leaves: Leaves) -> None:
    handler = ShutdownHandler(leaves, Left())
    handler._process = os.getpid() + 1
    handler.on_signal(signal.SIGTERM, None)
    handler.close()
    assert leaves.asked == []


def test_a_signal_that_was_ignored_at_the_start_stays_ignored(leaves: Leaves) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals(leaves) as handler:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == handler.on_signal
    finally:
        signal.signal(signal.SIGHUP, before)
    assert leaves.asked == []


def test_what_one_says_to_the_terminal_another_does_not_throw_away(leaves: Leaves) -> None:
    said: list[str] = []

    def restore_terminal() -> None:
        said.append("put back")
        if len(said) == 1:
            another.start()
            another.join(0.05)

    leaves.restore_terminal = restore_terminal  # type: ignore[method-assign]
    handler = ShutdownHandler(leaves, lambda _: said.append("left"))
    another = threading.Thread(target=handler._exit_now, args=(143,))
    handler._exit_now(143)
    another.join()
    handler.close()
    assert said == ["put back", "left", "put back", "left"]
