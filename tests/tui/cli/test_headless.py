import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.errors import LogsError
from torchdeck.core.events import EpochCompleted, Failure, RunCompleted, RunEvent, RunFailed, RunStarted
from torchdeck.core.processes.launch import DetachedRun
from torchdeck.core.runs.reader import load_record
from torchdeck.core.session.session import SessionContext, run
from torchdeck.tui.cli.headless import drive
from torchdeck.tui.cli.run_progress import PlainLines, RichProgress
from torchdeck.tui.state.handover import Handover

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]


class Collected:
    """A front end that keeps what it is shown."""

    descriptor = 1

    def __init__(self, on_event: Callable[[RunEvent], None] = lambda _: None) -> None:
        self.events: list[RunEvent] = []
        self.on_event = on_event

    def show(self, event: RunEvent) -> None:
        self.events.append(event)
        self.on_event(event)

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass


def failed(kind: Any) -> RunFailed:
    return RunFailed(error=Failure(kind, "X", "message", "mend"))


COMPLETED = RunCompleted(status="completed", reason="", epoch=1, step=1, train_seconds=0)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (COMPLETED, 0),
        (failed("crash"), 1),
        (failed("memory"), 1),
        (failed("diverged"), 1),
        (failed("input"), 2),
        (failed("busy"), 3),
    ],
)
def test_the_last_event_is_the_exit_code(last: RunEvent, code: int) -> None:
    assert drive(iter([last]), Control(), Collected()) == code


@pytest.fixture
def _as_from_a_shell() -> Iterator[None]:
    """What starts the tests in the background may have them ignore signals."""
    before = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.usefixtures("_as_from_a_shell")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_the_run_with_a_checkpoint(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun, number: int, code: int
) -> None:
    control = Control()

    def on_event(event: RunEvent) -> None:
        if isinstance(event, EpochCompleted) and event.epoch == 1:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    events = run(small({"training.epochs": 100_000}), tmp_path / "logs", control, context=context)
    assert drive(events, control, Collected(on_event)) == code
    record = load_record(the_run())
    assert record.status == "stopped"
    assert record.checkpoints[-1].step == record.ending.step  # type: ignore[union-attr]
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("_as_from_a_shell")
def test_a_run_that_no_process_can_take_is_stopped_at_a_hang_up(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    def on_event(event: RunEvent) -> None:
        if isinstance(event, EpochCompleted) and event.epoch == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    def fails(_: Path) -> DetachedRun:
        raise LogsError("no process can be started", "free memory")

    control = Control()
    events = run(small({"training.epochs": 100_000}), tmp_path / "logs", control, context=context)
    handover = Handover(tmp_path / "logs", tmp_path, fails)
    assert drive(events, control, Collected(on_event), handover=handover) == 129
    record = load_record(the_run())
    assert record.status == "stopped"
    assert record.reason.startswith("signal SIGHUP; not handed over: no process can be started")


def test_a_reader_that_goes_away_stops_the_run(
    small: Made, tmp_path: Path, context: SessionContext, the_run: TheRun
) -> None:
    def on_event(event: RunEvent) -> None:
        if isinstance(event, EpochCompleted):
            raise BrokenPipeError

    control, descriptors = Control(), [os.dup(1), os.dup(2)]
    events = run(small({"training.epochs": 100_000}), tmp_path / "logs", control, context=context)
    code = drive(events, control, Collected(on_event))
    for descriptor, saved in zip((1, 2), descriptors, strict=True):
        os.dup2(saved, descriptor)
        os.close(saved)
    assert code == 141
    assert load_record(the_run()).status == "stopped"


def test_a_front_end_that_hangs_does_not_hold_up_the_training(
    small: Made, tmp_path: Path, context: SessionContext
) -> None:
    """The front end stands still until the run has ended: only a training that needs no reader gets there."""
    ended = threading.Event()

    def on_event(event: RunEvent) -> None:
        if isinstance(event, RunStarted):
            assert ended.wait(60), "the training waits for its reader"

    def watched() -> Iterator[RunEvent]:
        yield from run(small({"training.epochs": 20}), tmp_path / "logs", context=context)
        ended.set()

    front_end = Collected(on_event)
    assert drive(watched(), Control(), front_end) == 0
    assert sum(isinstance(event, EpochCompleted) for event in front_end.events) == 20


def test_training_goes_on_while_a_terminal_is_not_read(small: Made, tmp_path: Path, context: SessionContext) -> None:
    """A real terminal whose buffer is full blocks the thread that draws; nobody reads until the run is over."""
    keeper, terminal = os.openpty()
    ended = threading.Event()

    def read_when_over() -> None:
        assert ended.wait(60)
        while os.read(keeper, 65536):
            pass

    def watched() -> Iterator[RunEvent]:
        yield from run(small({"training.epochs": 80}), tmp_path / "logs", context=context)
        ended.set()

    reader = threading.Thread(target=lambda: _quietly(read_when_over), daemon=True)
    reader.start()
    with os.fdopen(terminal, "w") as file:
        console = Console(file=file, force_terminal=True, width=200, height=50)
        assert drive(watched(), Control(), RichProgress(console)) == 0
    reader.join(10)
    assert not reader.is_alive()
    os.close(keeper)


def _quietly(work: Callable[[], None]) -> None:
    try:
        work()
    except OSError:
        return


def test_plain_lines_tell_each_epoch_and_the_way_to_go_on(small: Made, train: Train) -> None:
    shown = io.StringIO()
    with redirect_stderr(shown):
        lines = PlainLines()
        for event in train(small({"training.epochs": 2})):
            lines.show(event)
        lines.show(RunCompleted(seq=10_000, status="stopped", reason="enough", epoch=2, step=6, train_seconds=0))
    text = shown.getvalue()
    assert "lenet: " in text
    assert "epoch 1/2  train " in text
    assert "epoch 2/2  train " in text
    assert "torchdeck resume" in text


def test_a_failure_is_told_with_its_mend_and_no_control_bytes() -> None:
    shown = io.StringIO()
    with redirect_stderr(shown):
        PlainLines().show(RunFailed(error=Failure("input", "X", "bad \x1b[31mthing", "do \x07this")))
    assert shown.getvalue() == "error: bad [31mthing\n  do this\n"


def test_the_progress_shows_loss_rate_and_speed(small: Made, train: Train) -> None:
    screen = io.StringIO()
    bars = RichProgress(Console(file=screen, force_terminal=True, width=160, height=20))
    for event in train(small({"training.epochs": 2})):
        bars.show(event)
        bars._drawn = 0.0
        bars.tick()
    bars.close()
    text = screen.getvalue()
    for wanted in ("epoch 2", "loss", "accuracy", "lr 0.05", "images/s", "6/6"):
        assert wanted in text
