"""Train a run in the foreground of a command: progress, results and exit code."""

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
    start: Callable[[Control, SessionContext], Iterator[RunEvent]],
    logs: Path,
    data: Path,
    on_hangup: HangupPolicy,
    as_json: bool,
    *,
    multi_device: bool,
) -> None:
    """Train a run to its end, print its results, and exit with its exit code."""
    from rich.console import Console

    from ...core.api import SessionContext
    from ...core.control import Control
    from ..format.tables import results
    from ..state.handover import Handover
    from .headless import JsonLines, drive, print_last
    from .output import print_table
    from .run_progress import PlainLines, RichProgress

    control, console = Control(), Console(stderr=True)
    has_progress = console.is_terminal and not as_json
    front_end = JsonLines() if as_json else RichProgress(console) if has_progress else PlainLines()
    # Progress bars need ten events per second, a log only one.
    context = SessionContext(data, sample_every=0.1 if has_progress else 1.0)
    stop_following = partial(control.request, "hand-over") if multi_device else None
    handover = Handover(logs, data, stop_following=stop_following) if on_hangup == "hand-over" else None
    code = drive(start(control, context), control, front_end, handover=handover)
    # After SIGTERM or SIGHUP the terminal may be closed, and printing to it could hang.
    can_print = code not in (128 + signal.SIGTERM, 128 + signal.SIGHUP, 128 + signal.SIGPIPE)
    handed_over = handover is not None and handover.done
    if can_print and not handed_over and not isinstance(front_end, JsonLines) and front_end.record.epochs:
        record = front_end.record
        print_last(lambda: print_table(results(record)), code)
    raise typer.Exit(code)
