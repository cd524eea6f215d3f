"""Run on several devices: start its processes, then follow its log and yield the events."""

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
LEFT_RUNNING = "the run continues in background processes"


def uses_several_devices(config: ExperimentConfig) -> bool:
    """Whether a run of this config needs several processes, one per device."""
    return ranks_of(config) > 1


def follow_processes(start: Callable[[], DetachedRun], folder: Path, control: Inbox) -> Iterator[RunEvent]:
    """Start the processes of a run in `folder` by `start`, and yield its events; commands are passed on to the run.

    The run continues when the iteration is abandoned.
    """
    try:
        reader = tail_reader(folder)
        detached = start()
    except TorchdeckError as error:
        yield RunFailed(error=failure_of(error))
        return
    # Its `seq` is below that of every event in the log, so that it is not part of the record.
    yield StageStarted(seq=-1, message="starting the processes of the run")
    if ending := _wait_for_start(detached, control):
        yield ending
        return
    for event in _follow_to_end(folder, reader, control):
        yield event
        if isinstance(event, RunCompleted) and event.reason == LEFT_RUNNING:
            return
    # Once the process is gone, the run is free to be resumed.
    detached.process.wait()


def _wait_for_start(detached: DetachedRun, control: Inbox) -> RunEvent | None:
    """Wait until the run trains; returns the last event of a run that failed or was stopped before."""
    stopped = ""
    while (result := detached.start_result()) is None:
        command = control.take()
        if command and command[0] == "stop" and not stopped:
            stopped = command[1] or "a stop was requested"
            detached.process.terminate()
        control.wait(POLL_SECONDS)
    if isinstance(result, RunFailed):
        ended = RunCompleted(status="stopped", reason=stopped, epoch=0, step=0, train_seconds=0.0)
        return ended if stopped else result
    return None


class _Detached(Exception):
    """Whoever follows the run leaves it running."""


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
        hint = f"resume from the last checkpoint with: torchdeck resume {folder.name}"
        yield RunFailed(error=Failure("crash", "RunDied", "the processes of the run are gone", hint))


def _left_running(last: RunEvent | None) -> RunCompleted:
    """The last event for a caller that followed a run and left it running; it is not in the log."""
    seq, step = (last.seq + 1, int(getattr(last, "step", 0))) if last else (0, 0)
    return RunCompleted(seq=seq, status="handed_over", reason=LEFT_RUNNING, epoch=0, step=step, train_seconds=0.0)


def run_uses_several_devices(folder: Path) -> bool:
    """Whether the settings of an existing run ask for several devices; False where they cannot be read."""
    with suppress(TorchdeckError):
        return uses_several_devices(parse_config(read_header(folder).get("config", {})))
    return False
