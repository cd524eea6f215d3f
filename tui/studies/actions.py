"""Start, resume and stop studies from any page, after asking for devices or for confirmation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...core.devices.slots import parse_slots
from ...core.errors import TorchdeckError
from ...core.studies.coordinators import request_stop
from ...core.studies.ledger import hold_run
from ...core.studies.ledger import retry_run as retry
from ...core.studies.model import Study, StudyRun
from ...core.studies.store import create_study, load_study, newest_equal_study
from ..format.values import count, safe
from ..screens.device_dialog import DeviceDialog
from ..screens.dialogs import Answer, ConfirmDialog
from ..screens.page import Page
from ..state.device_choices import study_devices
from ..state.messages import StudyRequested

WHERE = "Where its runs train: 0,1 (a run on each GPU), 0+1,2+3 (two GPUs per run), or cpu:2 (two runs at a time)."


def start(page: Page, study: Study) -> None:
    """Ask for the devices, start a study (or resume the same one) in a background process, and show it."""

    def begin(devices: str) -> None:
        logs = page.workspace.logs
        folder = newest_equal_study(logs, study)
        if folder is None:
            folder = create_study(logs, study, page.workspace.now())
        elif load_study(folder).finished:
            page.notify(safe(f"{folder.name} has the same runs, and is finished"), markup=False)
        if not load_study(folder).finished and not page.workspace.processes.is_active(folder):
            page.workspace.processes.start(folder, page.workspace.data, devices)
        page.post_message(StudyRequested(folder))

    _ask_devices(page, f"Start {study.name}: {count(study.planned)} runs", begin)


def resume(page: Page, folder: Path, *, retry_failed: bool = False) -> None:
    """Ask for the devices, and start the process that resumes a study."""
    title = f"Retry the failed runs of {folder.name[-4:]}" if retry_failed else f"Resume {folder.name[-4:]}"
    processes, data = page.workspace.processes, page.workspace.data
    _ask_devices(page, title, lambda devices: processes.start(folder, data, devices, retry_failed=retry_failed))


def _ask_devices(page: Page, title: str, begin: Callable[[str], None]) -> None:
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
        page.workspace.preferences.keep("devices", devices)
        page.tick()

    devices = page.workspace.preferences.text("devices", "auto")
    page.app.push_screen(DeviceDialog(title, WHERE, devices, lambda: study_devices(page.workspace.machine())), answered)


def stop_run(page: Page, folder: Path, run: StudyRun) -> None:
    """After a confirmation, stop one run of a study, or skip it, until it is retried; done in a worker of the page."""

    def answered(answer: str | None) -> None:
        if answer:
            page.run_worker(partial(hold_run, folder, run.number), name="hold", thread=True, exit_on_error=False)

    if run.state == "running":
        title, text, action = f"Stop run {run.number}?", "It stops with a checkpoint after the current batch.", "Stop"
    else:
        title, text, action = f"Skip run {run.number}?", "It will not be started.", "Skip"
    text += f" The others continue. Key t retries it.\n{run.label}"
    page.app.push_screen(ConfirmDialog(title, text, [Answer("stop", action, True), Answer("", "Cancel")]), answered)


def retry_run(page: Page, folder: Path, run: StudyRun) -> None:
    """Retry one run of a study, in a worker of the page."""
    page.run_worker(partial(retry, folder, run.number), name="again", thread=True, exit_on_error=False)


def report_run_change(page: Page, folder: Path, command: str, run: StudyRun) -> None:
    """Report what happens to a run that was asked to stop, or retried."""
    active = page.workspace.processes.is_active(folder)
    if command == "again" and not active:
        resume(page, folder)
        return
    outcome = "stops after the current batch" if run.state == "running" else "is skipped"
    page.notify(f"Run {run.number} {outcome if command == 'hold' else 'is retried soon'}.", timeout=5)


def stop(page: Page, folder: Path) -> None:
    """After a confirmation, ask the processes of a study to stop its runs with checkpoints."""

    def answered(answer: str | None) -> None:
        if not answer:
            return
        try:
            request_stop(folder)
        except TorchdeckError as error:
            page.notify(safe(error), severity="error", markup=False)
            return
        page.notify("It stops after the current batches.", timeout=5)

    text = "Every run stops with a checkpoint; the study can be resumed later."
    answers = [Answer("stop", "Stop", True), Answer("", "Keep going")]
    page.app.push_screen(ConfirmDialog("Stop this study?", text, answers), answered)
