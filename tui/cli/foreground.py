"""A run that a command drives in the foreground: progress, results and exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..terminal.shutdown import HangupPolicy

if TYPE_CHECKING:
    from ...core.api import SessionContext
    from ...core.control import Control
    from ...core.events import RunEvent


def in_foreground(
    begin: Callable[[Control, SessionContext], Iterator[RunEvent]],
    logs: Path,
    data: Path,
    on_hangup: HangupPolicy,
    as_json: bool,
    *,
    apart: bool,
) -> None:
    """Drive a run, here or apart, to its end, print its results, and leave with its exit code."""
    from rich.console import Console

    from ...core.api import SessionContext
    from ...core.control import Control
    from ..format.tables import results
    from ..state.handover import HandOver
    from .headless import JsonLines, drive, say_last
    from .output import print_table
    from .run_progress import PlainLines, RichProgress

    control, console = Control(), Console(stderr=True)
    lively = console.is_terminal and not as_json
    front_end = JsonLines() if as_json else RichProgress(console) if lively else PlainLines()
    # Ten steps a second are for the eye; a log needs fewer.
    around = SessionContext(data, sample_every=0.1 if lively else 1.0)
    let_go = partial(control.request, "hand-over") if apart else None
    hand_over = HandOver(logs, data, let_go=let_go) if on_hangup == "hand-over" else None
    code = drive(begin(control, around), control, front_end, hand_over=hand_over)
    # After TERM or HUP the terminal may be gone, and printing to it could hang.
    alive = code not in (128 + signal.SIGTERM, 128 + signal.SIGHUP, 128 + signal.SIGPIPE)
    went = hand_over is not None and hand_over.done
    if alive and not went and not isinstance(front_end, JsonLines) and front_end.record.epochs:
        record = front_end.record
        say_last(lambda: print_table(results(record)), code)
    raise typer.Exit(code)
