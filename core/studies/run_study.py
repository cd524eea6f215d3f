"""Run a study as an iterator of events: register as a coordinator, claim its runs one by one, train each.

The last events of the runs are the truth: the queue is updated from them, never the other way round. So a finished run
is not repeated, and an interrupted one is resumed in its own folder.
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
from .coordinators import (
    SILENCE_SECONDS,
    Coordinator,
    check_no_heartbeat,
    foreign_heartbeats,
    gone_with_workers,
    register,
)
from .events import StudyEnded, StudyEvent, StudyWarned
from .executor import Executor, StudyOptions
from .ledger import Ledger, write_error


def run_study(folder: Path, control: Inbox | None = None, *, options: StudyOptions) -> Iterator[StudyEvent]:
    """Work on a study until no run is left, yielding events; every failure is the last event, nothing is raised.

    A stop by control stops its runs with checkpoints; the same call resumes them later.
    """
    try:
        yield from _open_and_run(folder, control or Control(), options)
    except Exception as error:  # noqa: BLE001 - a failure of any kind is the last event
        failure = _failure(folder, error)
        yield StudyEnded(None, "failed", failure.message, failure)


def _failure(folder: Path, error: Exception) -> Failure:
    if isinstance(error, OSError) and is_disk_error(error):
        error = write_error(folder, error)
    kind: FailureKind = (
        "input" if isinstance(error, InputError) else "busy" if isinstance(error, BusyError) else "crash"
    )
    message, hint = (error.message, error.hint) if isinstance(error, TorchdeckError) else (str(error), "")
    return Failure(kind, type(error).__name__, message, hint, "".join(traceback.format_exception(error)))


def _open_and_run(folder: Path, control: Inbox, options: StudyOptions) -> Generator[StudyEvent]:
    if not (yield from _no_unseen_coordinator(folder, control)):
        return
    with closing(Ledger(folder)) as ledger:
        coordinator = _register(folder, ledger, options)
        try:
            if not (yield from _orphaned_workers_gone(folder, control)):
                return
            with closing(ForkServer()) as server:
                start = options.start or partial(start_worker, server=server)
                with closing(Executor(ledger, coordinator, control, options, start)) as executor:
                    yield from executor.events()
        finally:
            coordinator.unregister()


def _register(folder: Path, ledger: Ledger, options: StudyOptions) -> Coordinator:
    try:
        with ledger.locked():
            return register(folder, options.slots, join=options.join, cluster=options.cluster)
    except OSError as error:
        raise write_error(folder, error) from None


def _no_unseen_coordinator(folder: Path, control: Inbox) -> Generator[StudyEvent, None, bool]:
    """Wait for heartbeats of coordinators on other machines whose locks seem free; False where a stop came first.

    Raises:
        BusyError: one of them gave a heartbeat.
    """
    before = foreign_heartbeats(folder)
    if not before:
        return True
    yield StudyWarned(f"waiting {SILENCE_SECONDS:.0f} s for a heartbeat of a process on another machine")
    for _ in range(round(SILENCE_SECONDS)):
        if (yield from _stopped(control)):
            return False
        control.wait(1.0)
        check_no_heartbeat(folder, before)
    return True


def _orphaned_workers_gone(folder: Path, control: Inbox) -> Generator[StudyEvent, None, bool]:
    """Wait until the workers of coordinators that died have exited; False where a stop came first.

    When a coordinator is killed, its workers stop within a batch, with a checkpoint.
    """
    warned = False
    while gone_with_workers(folder):
        if not warned:
            yield StudyWarned("waiting for the runs of an earlier process to stop")
            warned = True
        if (yield from _stopped(control)):
            return False
        control.wait(0.2)
    return True


def _stopped(control: Inbox) -> Generator[StudyEvent, None, bool]:
    command = control.take()
    if command is None or command[0] != "stop":
        return False
    yield StudyEnded(None, "stopped", "a stop was requested before any run started")
    return True
