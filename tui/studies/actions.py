"""What pages do with studies: start one or go on with it, and stop it; each asks first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...core.devices.slots import parse_slots
from ...core.errors import TorchdeckError
from ...core.studies.coordinators import request_stop
from ...core.studies.ledger import hold_run, retry_run
from ...core.studies.model import Study, StudyRun
from ...core.studies.store import create_study, latest_like, load_study
from ..format.values import count, safe
from ..screens.device_dialog import AskOffer
from ..screens.dialogs import Answer, Ask
from ..screens.page import Page
from ..state.device_choices import for_a_study
from ..state.messages import StudyRequested

WHERE = "Where its runs train: slots with commas between them, as 0,1 or cpu:2; 0+1,2+3 gives each run two devices."


def start(page: Page, study: Study) -> None:
    """Ask where a study is to run, start it as a process of its own, and show it; one that was begun goes on."""

    def begin(devices: str) -> None:
        logs = page.workspace.logs
        folder = latest_like(logs, study)
        if folder is None:
            folder = create_study(logs, study, page.workspace.now())
        elif load_study(folder).finished:
            page.notify(safe(f"{folder.name} has done the same already"), markup=False)
        if not load_study(folder).finished and not page.workspace.processes.active(folder):
            page.workspace.processes.go_on(folder, page.workspace.data, devices)
        page.post_message(StudyRequested(folder))

    _ask_where(page, f"Start {study.name}: {count(study.planned)} runs", begin)


def go_on(page: Page, folder: Path, *, retry_failed: bool = False) -> None:
    """Ask where, and start the process that goes on with a study."""
    title = f"Try the failed runs of {folder.name[-4:]} again" if retry_failed else f"Go on with {folder.name[-4:]}"
    processes, data = page.workspace.processes, page.workspace.data
    _ask_where(page, title, lambda devices: processes.go_on(folder, data, devices, retry_failed=retry_failed))


def _ask_where(page: Page, title: str, begin: Callable[[str], None]) -> None:
    def answered(said: str | None) -> None:
        if said is None:
            return
        devices = said or "auto"
        try:
            parse_slots(devices)
            begin(devices)
        except TorchdeckError as error:
            page.notify(safe(error), severity="error", timeout=10, markup=False)
            return
        page.workspace.state.keep("devices", devices)
        page.tick()

    asked = page.workspace.state.text("devices", "auto")
    page.app.push_screen(AskOffer(title, WHERE, asked, lambda: for_a_study(page.workspace.machine())), answered)


def stop_run(page: Page, folder: Path, run: StudyRun) -> None:
    """Ask, then have one run of a study stopped, or not begun, until it is tried again; the page's worker tells."""

    def answered(answer: str | None) -> None:
        if answer:
            page.run_worker(partial(hold_run, folder, run.number), name="hold", thread=True, exit_on_error=False)

    if run.state == "running":
        title, text, does = f"Stop run {run.number}?", "It stops with a checkpoint after the batch in hand.", "Stop"
    else:
        title, text, does = f"Leave run {run.number} out?", "It is not taken up by itself.", "Leave out"
    text += f" The others go on. Key t takes it up again.\n{run.label}"
    page.app.push_screen(Ask(title, text, [Answer("stop", does, True), Answer("", "Keep it")]), answered)


def retry_one(page: Page, folder: Path, run: StudyRun) -> None:
    """Have one run of a study tried again; the page's worker tells."""
    page.run_worker(partial(retry_run, folder, run.number), name="again", thread=True, exit_on_error=False)


def tell_of_run(page: Page, folder: Path, asked: str, run: StudyRun) -> None:
    """What becomes of a run that was asked to be stopped, or to be tried again."""
    active = page.workspace.processes.active(folder)
    if asked == "again" and not active:
        go_on(page, folder)
        return
    stops = "stops after the batch in hand" if run.state == "running" else "is left out"
    page.notify(f"Run {run.number} {stops if asked == 'hold' else 'is taken up again soon'}.", timeout=5)


def stop(page: Page, folder: Path) -> None:
    """Ask, then have the process of a study stop its runs with checkpoints."""

    def answered(answer: str | None) -> None:
        if not answer:
            return
        try:
            request_stop(folder)
        except TorchdeckError as error:
            page.notify(safe(error), severity="error", markup=False)
            return
        page.notify("It stops after the batches in hand.", timeout=5)

    text = "Every run stops with a checkpoint; the study can go on later, and nothing is repeated."
    answers = [Answer("stop", "Stop", True), Answer("", "Keep going")]
    page.app.push_screen(Ask("Stop this study?", text, answers), answered)
