"""A run on several devices as an iterator of its events: processes of its own train it, and it is followed on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ..config import ExperimentConfig, parse_config, ranks_of
from ..control import Inbox
from ..errors import TorchdeckError
from ..events import Failure, RunCompleted, RunEvent, RunFailed, StageStarted
from ..runs.commands import request
from ..runs.index import read_header
from ..runs.reader import EventReader, follow, news_of
from ..session.run_header import failure_of
from .launch import Detached

POLL = 0.1
LET_GO = "it goes on in processes of its own"


def is_apart(config: ExperimentConfig) -> bool:
    """Whether a run of this config is trained by processes of its own."""
    return ranks_of(config) > 1


def followed(begin: Callable[[], Detached], folder: Path, control: Inbox) -> Iterator[RunEvent]:
    """The events of a run that `begin` starts in `folder`; commands are passed on to it.

    Whoever iterates may go: the run goes on.
    """
    try:
        news = news_of(folder)
        detached = begin()
    except TorchdeckError as error:
        yield RunFailed(error=failure_of(error))
        return
    # Before all events of the log, so that it is no part of the record.
    yield StageStarted(seq=-1, message="starting the processes of the run")
    if told := _begun(detached, control):
        yield told
        return
    for event in _to_the_end(folder, news, control):
        yield event
        if isinstance(event, RunCompleted) and event.reason == LET_GO:
            return
    # By then the run is free for whoever goes on with it.
    detached.process.wait()


def _begun(detached: Detached, control: Inbox) -> RunEvent | None:
    """Wait until the run trains; where it does not come to that, what there is to tell."""
    stopped = ""
    while (told := detached.began()) is None:
        command = control.take()
        if command and command[0] == "stop" and not stopped:
            stopped = command[1] or "stop was asked for"
            detached.process.terminate()
        control.wait(POLL)
    if isinstance(told, RunFailed):
        ended = RunCompleted(status="stopped", reason=stopped, epoch=0, step=0, train_seconds=0.0)
        return ended if stopped else told
    return None


class _LetGo(Exception):
    """Whoever follows the run leaves it to itself."""


def _to_the_end(folder: Path, news: EventReader, control: Inbox) -> Iterator[RunEvent]:
    def wait(seconds: float) -> None:
        while command := control.take():
            if command[0] == "hand-over":
                raise _LetGo
            with suppress(TorchdeckError):  # it has just ended
                request(news.folder, *command)
        control.wait(seconds)

    last: RunEvent | None = None
    try:
        for event in follow(folder, wait=wait, poll=POLL, reader=news):
            last = event
            yield event
    except _LetGo:
        yield _let_go(last)
        return
    if not isinstance(last, RunCompleted | RunFailed):
        hint = f"go on from the last checkpoint with: torchdeck resume {folder.name}"
        yield RunFailed(error=Failure("crash", "RunDied", "the processes of the run are gone", hint))


def _let_go(last: RunEvent | None) -> RunCompleted:
    """Told to whoever followed a run, and no part of its log."""
    seq, step = (last.seq + 1, int(getattr(last, "step", 0))) if last else (0, 0)
    return RunCompleted(seq=seq, status="handed_over", reason=LET_GO, epoch=0, step=step, train_seconds=0.0)


def trained_apart(folder: Path) -> bool:
    """Whether a run's settings, if they can be read, want several devices."""
    with suppress(TorchdeckError):
        return is_apart(parse_config(read_header(folder).get("config", {})))
    return False
