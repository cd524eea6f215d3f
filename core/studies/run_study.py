"""A study as an iterator of events: become one of its parents, claim its runs one after another, train each, tell all.

The runs' last events are the truth. The queue is told what they say, never the other way round, so a finished run is
not repeated and an interrupted one goes on in its own directory.
"""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from ..control import Control, Inbox
from ..errors import BusyError, InputError, TorchdeckError
from ..events import Failure, FailureKind
from ..processes.fork_client import ForkServer
from ..processes.launch import start_worker
from ..utils.files import is_disk_error
from .coordinators import SILENCE, Parent, check_unchanged, dying, enter, signs_of_life
from .events import StudyEnded, StudyEvent, StudyWarned
from .executor import Circumstances, Executor
from .ledger import Ledger, unwritable


def run_study(folder: Path, control: Inbox | None = None, *, around: Circumstances) -> Iterator[StudyEvent]:
    """Work on a study until no run is left; every failure is the last event, nothing is raised.

    A stop by control stops its runs with a checkpoint; the same call later goes on where they stand.
    """
    try:
        yield from _opened(folder, control or Control(), around)
    except Exception as error:  # noqa: BLE001 - a failure of any kind is the last event
        failure = _failure(folder, error)
        yield StudyEnded(None, "failed", failure.message, failure)


def _failure(folder: Path, error: Exception) -> Failure:
    if isinstance(error, OSError) and is_disk_error(error):
        error = unwritable(folder, error)
    kind: FailureKind = (
        "input" if isinstance(error, InputError) else "busy" if isinstance(error, BusyError) else "crash"
    )
    message, hint = (error.message, error.hint) if isinstance(error, TorchdeckError) else (str(error), "")
    return Failure(kind, type(error).__name__, message, hint, "".join(traceback.format_exception(error)))


def _opened(folder: Path, control: Inbox, around: Circumstances) -> Generator[StudyEvent]:
    if not (yield from _no_hidden_parent(folder, control)):
        return
    with closing(Ledger(folder)) as ledger:
        parent = _entered(folder, ledger, around)
        try:
            if not (yield from _last_workers_gone(folder, control)):
                return
            with closing(ForkServer()) as server:
                start = around.start or partial(start_worker, server=server)
                with closing(Executor(ledger, parent, control, around, start)) as executor:
                    yield from executor.events()
        finally:
            parent.leave()


def _entered(folder: Path, ledger: Ledger, around: Circumstances) -> Parent:
    try:
        with ledger.held():
            return enter(folder, around.slots, join=around.join, cluster=around.cluster)
    except OSError as error:
        raise unwritable(folder, error) from None


def _no_hidden_parent(folder: Path, control: Inbox) -> Generator[StudyEvent, None, bool]:
    """Wait for a sign of life from parents on other machines whose locks are free; whether none came, and no stop.

    Raises:
        BusyError: one came.
    """
    before = signs_of_life(folder)
    if not before:
        return True
    yield StudyWarned(f"waiting {SILENCE:.0f} s for a sign of life from a process on another machine")
    for _ in range(round(SILENCE)):
        if (yield from _stopped(control)):
            return False
        control.wait(1.0)
        check_unchanged(folder, before)
    return True


def _last_workers_gone(folder: Path, control: Inbox) -> Generator[StudyEvent, None, bool]:
    """Wait until no worker lives of a parent that is gone; whether that came before a stop.

    After a kill of a study's process its workers stop by themselves, with a checkpoint, within a batch.
    """
    told = False
    while dying(folder):
        if not told:
            yield StudyWarned("runs of an earlier process are still stopping; waiting for them")
            told = True
        if (yield from _stopped(control)):
            return False
        control.wait(0.2)
    return True


def _stopped(control: Inbox) -> Generator[StudyEvent, None, bool]:
    command = control.take()
    if command is None or command[0] != "stop":
        return False
    yield StudyEnded(None, "stopped", "asked to stop before any of its runs began")
    return True
