"""Run and resume a training: in this process, or in one process per device for a run on several devices."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from .config import ExperimentConfig
from .control import Control, Inbox
from .events import HistoryLoaded, RunEvent, RunStarted
from .processes.launch import resume_detached, start_detached
from .processes.multi_device import follow_processes, run_uses_several_devices, uses_several_devices
from .runs.label import Label
from .runs.layout import new_run_id
from .runs.reader import load_record
from .session import session
from .session.session import SessionContext

__all__ = ["SessionContext", "resume", "run"]


def run(
    config: ExperimentConfig,
    logs: Path,
    control: Inbox | None = None,
    *,
    context: SessionContext,
    label: Label | None = None,
    run_id: str = "",
) -> Iterator[RunEvent]:
    """Train a config and record it under `logs`, yielding events; see `torchdeck.core.session.session.run`.

    A run on several devices trains in processes of its own, which continue when the iteration is abandoned.
    """
    if not uses_several_devices(config):
        yield from session.run(config, logs, control, context=context, label=label, run_id=run_id)
        return
    name = run_id or new_run_id((label or Label()).preset, context.now())
    arguments = config, label or Label(), logs, context.data_root, context.now()
    start = partial(start_detached, *arguments, run_id=name, rank_timeouts=context.rank_timeouts)
    yield from follow_processes(start, logs / name, control or Control())


def resume(
    folder: Path, control: Inbox | None = None, *, context: SessionContext, take_over: bool = False
) -> Iterator[RunEvent]:
    """Resume a stopped or dead run from its newest valid checkpoint, or from the start where there is none.

    A `HistoryLoaded` event precedes `RunStarted`, so that a record folded from these events covers earlier attempts.
    """
    with closing(_resumed(folder, control or Control(), context, take_over)) as events:
        for event in events:
            if isinstance(event, RunStarted):
                yield HistoryLoaded(record=load_record(folder).to_json())
            yield event


def _resumed(folder: Path, control: Inbox, context: SessionContext, take_over: bool) -> Generator[RunEvent]:
    if not run_uses_several_devices(folder):
        yield from session.resume(folder, control, context=context, take_over=take_over)
        return
    start = partial(resume_detached, folder, context.data_root, rank_timeouts=context.rank_timeouts)
    yield from follow_processes(start, folder, control)
