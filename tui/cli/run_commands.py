"""Commands to a run that another process trains: attach, stop, pause, checkpoint; and starting one by --detach."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...core.control import CommandName, Control
from ...core.errors import LogsError
from .options import DATA, LOGS, Ascii, Data, Json, Logs, OnHangup, RefreshOption, RunReference, print_json

if TYPE_CHECKING:
    from ...core.events import RunEvent
    from ...core.processes.launch import DetachedRun

POLL_SECONDS = 0.1


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: torchdeck attach @last")(attach)
    app.command(epilog="Example: torchdeck stop @last --after-epoch")(stop)
    app.command(epilog="Example: torchdeck pause @last")(pause)
    app.command(epilog="Example: torchdeck checkpoint @last")(checkpoint)


class _StoppedWatching(Exception):
    """The user stopped watching."""


class _Watching(Control):
    """Watching a run: a signal, or an output that nobody reads, ends the watching instead of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = threading.Event()

    def request(self, command: CommandName, reason: str = "") -> None:  # noqa: ARG002
        self.stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait between two reads; raises _StoppedWatching once watching has ended."""
        if self.stopped.wait(seconds):
            raise _StoppedWatching


def attach(
    reference: RunReference,
    logs: Logs = LOGS,
    data: Data = DATA,
    refresh: RefreshOption = "auto",
    ascii_only: Ascii = False,
    on_hangup: OnHangup = "hand-over",
    as_json: Json = False,
) -> None:
    """Watch a run of any process from its first event: in the app, or without a terminal as lines or JSON.

    Quitting, also by Ctrl-C, does not affect the run.
    """
    from ...core.runs.index import find_run

    row = find_run(logs, reference)
    if row.status == "unreadable":
        raise LogsError(f"run {row.id} cannot be watched: {row.problem}")
    if sys.stdin.isatty() and sys.stderr.isatty() and not as_json:
        from ..app.start import open_app  # textual, 0.2 s

        raise typer.Exit(open_app(logs, data, refresh, ascii_only, "live", row.folder, on_hangup))
    raise typer.Exit(_watch(row.folder, as_json))


def _watch(folder: Path, as_json: bool) -> int:
    from ...core.runs.reader import EventReader, follow, load_record
    from .headless import JsonLines, drive
    from .run_progress import PlainLines

    watching, reader = _Watching(), EventReader(folder)

    def events() -> Iterator[RunEvent]:
        with suppress(_StoppedWatching):
            yield from follow(folder, wait=watching.pause, reader=reader)

    code = drive(events(), watching, JsonLines() if as_json else PlainLines())
    folder = reader.folder
    if watching.stopped.is_set():
        typer.echo(f"stopped watching; run {folder.name} continues", err=True)
        return code
    status = load_record(folder).status
    if status in ("died", "unknown"):
        why = "its process is gone" if status == "died" else "no more events, and file locks do not work here"
        typer.echo(f"{why}; resume it with: torchdeck resume {folder.name}", err=True)
        return 1
    return code


def stop(
    reference: RunReference,
    after_epoch: Annotated[bool, typer.Option("--after-epoch", help="Stop at the end of the epoch.")] = False,
    logs: Logs = LOGS,
    as_json: Json = False,
) -> None:
    """Stop a run of any process with a checkpoint, and wait until it has stopped."""
    _send(reference, logs, "stop-after-epoch" if after_epoch else "stop", as_json)


def pause(reference: RunReference, logs: Logs = LOGS, as_json: Json = False) -> None:
    """Pause a run of any process; `torchdeck resume` unpauses it."""
    _send(reference, logs, "pause", as_json)


def checkpoint(reference: RunReference, logs: Logs = LOGS, as_json: Json = False) -> None:
    """Have a run of any process save a checkpoint now."""
    _send(reference, logs, "checkpoint", as_json)


def _send(reference: str, logs: Path, command: CommandName, as_json: bool) -> None:
    from ...core.runs.commands import send_and_wait
    from ...core.runs.index import find_run

    row = find_run(logs, reference)
    if row.status in ("completed", "failed", "stopped", "died", "unreadable"):
        hint = "see it with: torchdeck show" if row.status == "completed" else "resume it with: torchdeck resume"
        raise LogsError(f"run {row.id} is not active: its status is {row.status}", f"{hint} {row.id}")
    try:
        event = send_and_wait(row.folder, command)
    except KeyboardInterrupt:
        typer.echo(f"not waiting any more; run {row.id} received the command", err=True)
        raise typer.Exit(130) from None
    done, message = _outcome(event, command)
    body = {"run_id": row.id, "command": command, "done": done, "told": message, "step": getattr(event, "step", None)}
    print_json(body) if as_json else typer.echo(f"{row.id}: {message}")
    raise typer.Exit(0 if done else 1)


def _outcome(event: RunEvent | None, command: CommandName) -> tuple[bool, str]:
    """Whether a run followed a command, and a message about it."""
    from ...core.events import CheckpointSaved, CommandApplied, RunCompleted, RunFailed, WarningRaised
    from ..format.values import safe

    match event:
        case RunCompleted():
            stops = command in ("stop", "stop-after-epoch")
            return stops, f"{event.status} at step {event.step}" + (f" ({safe(event.reason)})" if event.reason else "")
        case RunFailed():
            return False, f"failed: {safe(event.error.message)}"
        case CommandApplied():
            return True, f"paused at step {event.step}"
        case CheckpointSaved():
            return True, f"saved a checkpoint of step {event.step}"
        case WarningRaised():
            return False, safe(event.message)
        case _:
            return False, "its process is gone; resume it with: torchdeck resume"


def report_start(detached: DetachedRun, as_json: bool) -> None:
    """Wait until a background run has started, and print its id.

    Raises:
        typer.Exit: the run could not start; the error is printed, the exit code is that of its kind.
    """
    from ...core.events import RunFailed, to_json
    from ...core.runs.record import RunRecord
    from ..format.event_lines import lines_of
    from ..terminal.exit_codes import run_exit_code

    try:
        while (started := detached.start_result()) is None:
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        detached.cancel()
        raise typer.Exit(130) from None
    if isinstance(started, RunFailed):
        for line in lines_of(started, RunRecord()):
            typer.echo(line, err=True)
        if as_json:
            print_json(to_json(started))
        raise typer.Exit(run_exit_code(started, None))
    run_id = detached.folder.name
    if as_json:
        return print_json({"run_id": run_id, "folder": str(detached.folder), "pid": detached.process.pid})
    typer.echo(run_id)
    return typer.echo(f"it trains in the background; watch it with: torchdeck attach {run_id[-4:]}", err=True)
