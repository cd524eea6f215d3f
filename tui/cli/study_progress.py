"""Show a running study: a live table on a terminal, plain lines or JSON lines otherwise; and its exit code."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...core.events import EpochCompleted, RunStarted, StageStarted
from ...core.runs.index import read_row
from ...core.runs.layout import is_run
from ...core.studies.events import (
    RunEnded,
    RunEventForwarded,
    RunStartedInStudy,
    StudyEnded,
    StudyEvent,
    StudyStarted,
    StudyWarned,
)
from ...core.studies.model import Study, StudyRun
from ..format.values import duration, percent, safe
from ..summaries.study_text import summary_of
from ..terminal.exit_codes import EXIT_CODES
from .headless import FrontEnd

REDRAW_EVERY = 0.25
MOST_SETTINGS = 4
UNFINISHED = 75
"""The exit code of a study that was stopped, or whose time budget is used up: the same command resumes it."""

_STYLES = {"running": "bold", "completed": "green", "failed": "red", "pruned": "yellow", "stopped": "yellow"}


def study_exit_code(last: StudyEvent | None, number: int | None) -> int:
    """0 done, 1 some runs failed, 2 wrong input, 3 busy, 75 unfinished, 128 + n if signal n stopped it."""
    if not isinstance(last, StudyEnded):
        return 1
    if last.error:
        return EXIT_CODES.get(last.error.kind, 1)
    if last.outcome == "stopped":
        return UNFINISHED if number is None else 128 + number
    return 1 if last.outcome == "failed" else 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: epochs, best test accuracy, seconds of training, and its current stage."""

    epoch: int = 0
    epochs: int = 0
    best: float | None = None
    seconds: float | None = None
    stage: str = ""


class StudyView:
    """A study and the progress of its runs, from its events."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.study: Study | None = None
        self.progress: dict[int, Progress] = {}
        self.ending: StudyEnded | None = None

    def apply(self, event: StudyEvent) -> None:
        """Apply one event."""
        match event:
            case StudyStarted():
                self.study, self.progress = event.study, recorded_progress(event.study.runs, self.logs)
            case RunStartedInStudy() if self.study:
                self.study = self.study.with_run(event.run)
                before = self.progress.get(event.run.number, Progress())
                self.progress[event.run.number] = replace(before, stage="starting")
            case RunEnded() if self.study:
                self.study = self.study.with_run(event.run)
                self.progress |= recorded_progress([event.run], self.logs)
            case RunEventForwarded():
                before = self.progress.get(event.number, Progress())
                self.progress[event.number] = _advanced(before, event)
            case StudyEnded():
                self.study, self.ending = event.study or self.study, event
            case _:
                pass


def _advanced(before: Progress, said: RunEventForwarded) -> Progress:
    match said.event:
        case StageStarted() as event:
            return replace(before, stage=event.message)
        case RunStarted() as event:
            return replace(before, epochs=event.epochs, stage="")
        case EpochCompleted() as event:
            seen = [value for value in (before.best, event.metrics.get("test/accuracy")) if value is not None]
            seconds = (before.seconds or 0) + event.train_seconds
            return replace(before, epoch=event.epoch, best=max(seen, default=None), seconds=seconds, stage="")
        case _:
            return before


class StudyLines(FrontEnd[StudyEvent]):
    """Noteworthy events as lines on stderr."""

    def __init__(self, logs: Path) -> None:
        self.view = StudyView(logs)

    def show(self, event: StudyEvent) -> None:
        self.view.apply(event)
        for line in lines_of(event, self.view):
            sys.stderr.write(safe(line) + "\n")
        sys.stderr.flush()


def lines_of(event: StudyEvent, view: StudyView) -> list[str]:
    """The lines for an event; many events have none."""
    match event:
        case StudyStarted():
            return [f"study {event.study.study_id}: {summary_of(event.study)}, on {', '.join(event.slots)}"]
        case StudyWarned():
            return [event.message]
        case RunStartedInStudy():
            how = "resumes" if event.resumed else "starts"
            return [f"{_named(event.run)} {how} on {event.slot}: {event.run.run_id}"]
        case RunEventForwarded(event=EpochCompleted() as said) if view.study:
            progress = view.progress[event.number]
            accuracy = percent(said.metrics.get("test/accuracy"))
            return [f"{_named(view.study.runs[event.number])} epoch {said.epoch}/{progress.epochs}  test {accuracy}"]
        case RunEnded():
            return [f"{_named(event.run)} {event.run.state}{_after_colon(event.run.reason)}"]
        case StudyEnded():
            return closing_lines(event)
        case _:
            return []


def _named(run: StudyRun) -> str:
    return f"run {run.number} ({run.label})"


def _after_colon(reason: str) -> str:
    return f": {reason}" if reason else ""


def closing_lines(event: StudyEnded) -> list[str]:
    """How a study ended, and how to resume it."""
    if event.error:
        return [f"error: {event.error.message}", *([f"  {event.error.hint}"] if event.error.hint else [])]
    if event.study is None:
        return [event.reason]
    study = event.study
    lines = [f"study {study.study_id} {event.outcome}: {summary_of(study)}{_after_colon(event.reason)}"]
    if event.outcome == "stopped":
        lines.append(f"  resume with: torchdeck study {study.study_id}")
    if held := [run.number for run in study.runs if run.wish == "hold"]:
        lines.append(f"  retry run {held[0]} with: torchdeck study-retry {study.study_id} {held[0]}")
    if study.count("failed"):
        lines.append(f"  retry the failed runs with: torchdeck study {study.study_id} --retry-failed")
    return lines


class StudyTable(FrontEnd[StudyEvent]):
    """The runs as a table that is redrawn in place."""

    def __init__(self, console: Console, logs: Path) -> None:
        self.view = StudyView(logs)
        self._console = console
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, event: StudyEvent) -> None:
        self.view.apply(event)
        if isinstance(event, StudyStarted | StudyWarned):
            for line in lines_of(event, self.view):
                self._console.print(Text(safe(line)), highlight=False)
        self.tick()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._drawn < REDRAW_EVERY or self.view.study is None:
            return
        self._drawn = now
        self._live.update(self._drawing(self.view.study), refresh=True)

    def _drawing(self, study: Study) -> Group:
        shown = visible_runs(study.runs, max(3, self._console.height - 6))
        return Group(study_table(study, self.view.progress, shown), Text(summary_of(study)))

    def close(self) -> None:
        """Print how the study ended; unless its ranking follows, with a final table."""
        self._live.stop()
        ranked = self.view.ending and self.view.ending.outcome in ("completed", "failed")
        if self.view.ending and self.view.study and not ranked:
            self._console.print(study_table(self.view.study, self.view.progress))
        for line in closing_lines(self.view.ending) if self.view.ending else []:
            self._console.print(Text(safe(line)), highlight=False)


def visible_runs(runs: Iterable[StudyRun], limit: int) -> list[StudyRun]:
    """At most `limit` runs, active and latest ones preferred, in the order of their numbers."""
    ranked = sorted(runs, key=lambda run: (run.state != "running", run.state == "waiting", -run.number))
    return sorted(ranked[:limit], key=lambda run: run.number)


def study_table(study: Study, progress: Mapping[int, Progress], runs: Iterable[StudyRun] | None = None) -> Table:
    """A row per run: its varied settings, state, progress and best accuracy."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    # In a list of runs the labels say more than the settings.
    varied = study.varied[:MOST_SETTINGS] if study.kind != "list" else ()
    drawn.add_column("", justify="right")
    drawn.add_column("run", overflow="fold")
    for path in varied:
        drawn.add_column(safe(path.partition(".")[2]), justify="right")
    for name in ("state", "epoch", "best test", "time"):
        drawn.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    drawn.add_column("")
    for run in study.runs if runs is None else runs:
        drawn.add_row(*_cells(run, varied, progress.get(run.number, Progress())))
    return drawn


def _cells(run: StudyRun, varied: Iterable[str], progress: Progress) -> list[Text]:
    settings = [_setting(run.config, path) for path in varied]
    named = run.label if not settings else run.preset
    epochs = f"{progress.epoch}/{progress.epochs}" if progress.epochs else "-"
    texts = [run.number, named, *settings]
    figures = [epochs, percent(progress.best) if progress.best is not None else "-", duration(progress.seconds)]
    state = Text(safe(run.state), style=_STYLES.get(run.state, "dim"))
    remark = run.reason or progress.stage or (run.place if run.state == "running" else "")
    return [*(Text(safe(text)) for text in texts), state, *map(Text, figures), Text(safe(remark))]


def _setting(config: Mapping[str, Any], path: str) -> str:
    section, _, key = path.partition(".")
    value = config.get(section, {}).get(key, "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def recorded_progress(runs: Iterable[StudyRun], logs: Path) -> dict[int, Progress]:
    """The progress of each run, from its folder."""
    found: dict[int, Progress] = {}
    for run in runs:
        if run.run_id and is_run(logs / run.run_id):
            found[run.number] = _recorded(read_row(logs / run.run_id).summary)
    return found


def _recorded(summary: Mapping[str, Any]) -> Progress:
    best = summary.get("best")
    accuracy = best.get("test/accuracy") if isinstance(best, dict) else None
    seconds = summary.get("train_seconds")
    return Progress(
        epoch=int(summary.get("epoch", 0)),
        epochs=int(summary.get("epochs", 0)),
        best=accuracy if isinstance(accuracy, int | float) else None,
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
    )
