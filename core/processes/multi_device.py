"""A run on several devices as an iterator of its events: processes of its own train it, and it is followed on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ..config import ExperimentConfig, parse_config, ranks_of
from ..control import Inbox
from ..errors import TorchdeckError
from ..events import Failure, RunCompleted, RunEvent, RunFailed, StageStarted
from ..runs.commands import send_command
from ..runs.index import read_header
from ..runs.reader import EventReader, follow, tail_reader
from ..session.run_header import failure_of
from .launch import DetachedRun

POLL_SECONDS = 0.1
LEFT_RUNNING = "it goes on in processes of its own"


def uses_several_devices(config: ExperimentConfig) -> bool:
    """Whether a run of this config is trained by processes of its own."""
    return ranks_of(config) > 1


def follow_processes(start: Callable[[], DetachedRun], folder: Path, control: Inbox) -> Iterator[RunEvent]:
    """The events of a run that `begin` starts in `folder`; commands are passed on to it.

    Whoever iterates may go: the run goes on.
    """
    try:
        reader = tail_reader(folder)
        detached = start()
    except TorchdeckError as error:
        yield RunFailed(error=failure_of(error))
        return
    # Before all events of the log, so that it is no part of the record.
    yield StageStarted(seq=-1, message="starting the processes of the run")
    if ending := _wait_for_start(detached, control):
        yield ending
        return
    for event in _follow_to_end(folder, reader, control):
        yield event
        if isinstance(event, RunCompleted) and event.reason == LEFT_RUNNING:
            return
    # By then the run is free for whoever goes on with it.
    detached.process.wait()


def _wait_for_start(detached: DetachedRun, control: Inbox) -> RunEvent | None:
    """Wait until the run trains; where it does not come to that, what there is to tell."""
    stopped = ""
    while (result := detached.start_result()) is None:
        command = control.take()
        if command and command[0] == "stop" and not stopped:
            stopped = command[1] or "stop was asked for"
            detached.process.terminate()
        control.wait(POLL_SECONDS)
    if isinstance(result, RunFailed):
        ended = RunCompleted(status="stopped", reason=stopped, epoch=0, step=0, train_seconds=0.0)
        return ended if stopped else result
    return None


class _Detached(Exception):
    """Whoever follows the run leaves it to itself."""


def _follow_to_end(folder: Path, reader: EventReader, control: Inbox) -> Iterator[RunEvent]:
    def wait(seconds: float) -> None:
        while command := control.take():
            if command[0] == "hand-over":
                raise _Detached
            with suppress(TorchdeckError):  # it has just ended
                send_command(reader.folder, *command)
        control.wait(seconds)

    last: RunEvent | None = None
    try:
        for event in follow(folder, wait=wait, poll=POLL_SECONDS, reader=reader):
            last = event
            yield event
    except _Detached:
        yield _left_running(last)
        return
    if not isinstance(last, RunCompleted | RunFailed):
        hint = f"go on from the last checkpoint with: torchdeck resume {folder.name}"
        yield RunFailed(error=Failure("crash", "RunDied", "the processes of the run are gone", hint))


def _left_running(last: RunEvent | None) -> RunCompleted:
    """Told to whoever followed a run, and no part of its log."""
    seq, step = (last.seq + 1, int(getattr(last, "step", 0))) if last else (0, 0)
    return RunCompleted(seq=seq, status="handed_over", reason=LEFT_RUNNING, epoch=0, step=step, train_seconds=0.0)


def run_uses_several_devices(folder: Path) -> bool:
    """Whether a run's settings, if they can be read, want several devices."""
    with suppress(TorchdeckError):
        return uses_several_devices(parse_config(read_header(folder).get("config", {})))
    return False
