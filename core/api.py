"""Run and resume: in this process, or, on several devices, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .config import ExperimentConfig
from .control import Control, Inbox
from .events import RunEvent
from .processes.launch import resume_detached, start_detached
from .processes.multi_device import followed, is_apart, trained_apart
from .runs.label import Label
from .runs.layout import new_run_id
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
    """Train a config and record it under `logs`; every failure is the last event, nothing is raised."""
    if not is_apart(config):
        yield from session.run(config, logs, control, context=context, label=label, run_id=run_id)
        return
    name = run_id or new_run_id((label or Label()).preset, context.now())
    asked = config, label or Label(), logs, context.data_root, context.now()
    begin = partial(start_detached, *asked, run_id=name, rank_timeouts=context.rank_timeouts)
    yield from followed(begin, logs / name, control or Control())


def resume(
    folder: Path, control: Inbox | None = None, *, context: SessionContext, take_over: bool = False
) -> Iterator[RunEvent]:
    """Go on with a stopped or dead run from its newest checkpoint that verifies, or from the start without one."""
    if not trained_apart(folder):
        yield from session.resume(folder, control, context=context, take_over=take_over)
        return
    begin = partial(resume_detached, folder, context.data_root, rank_timeouts=context.rank_timeouts)
    yield from followed(begin, folder, control or Control())
