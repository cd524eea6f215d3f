"""Create, find and load studies on disk.

The states of runs in a study's files are only a cache: `current_run` corrects them by the run folders.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..errors import BusyError, InputError, LogsError, nearest
from ..runs.index import RunRow, find_run, list_runs, read_row
from ..runs.layout import RUN_ID, is_run, new_run_id
from ..runs.writer import check_writable
from ..utils.files import (
    DISK,
    Disk,
    disk_error_text,
    is_folder,
    make_folders,
    read_json,
    remove_tree,
    to_json_bytes,
    write_atomically,
)
from ..utils.locks import open_lock, wait_for_lock
from .coordinators import active_coordinators
from .journal import DECLARED, read_content
from .model import GONE, HOLD, KILLED, PRUNED, Study, StudyRun, StudyStatus
from .reader import MAX_LABEL_LENGTH, MIN_READER, SCHEMA, study_of


def create_study(logs: Path, study: Study, now: float, disk: Disk = DISK) -> Path:
    """Create the folder of a new study with its study.json; nothing is started yet.

    Raises:
        LogsError: the folder cannot be written.
    """
    check_writable(logs)
    study_id = new_run_id(study.name, now)
    folder = logs / study_id
    try:
        make_folders(folder, disk)
        save_study(folder, replace(study, study_id=study_id, created=now), disk)
    except OSError as error:
        with suppress(OSError):
            remove_tree(folder, disk)
        raise LogsError(
            f"the study {folder} cannot be created ({disk_error_text(error)})", "choose another --logs"
        ) from None
    return folder


def save_study(folder: Path, study: Study, disk: Disk = DISK) -> None:
    """Write study.json."""
    content = {"schema": SCHEMA, "min_reader": MIN_READER, **asdict(study)}
    write_atomically(folder / DECLARED, to_json_bytes(content), durable=True, disk=disk)


def load_study(folder: Path) -> Study:
    """Load the study of a folder, with the state of each run from its run folder.

    Raises:
        LogsError: study.json is missing, damaged or of a newer version.
    """
    study, alive = study_of(folder, read_content(folder)), active_coordinators(folder)
    return replace(study, runs=tuple(current_run(folder.parent, run, run.parent in alive) for run in study.runs))


def current_run(logs: Path, run: StudyRun, active: bool = False) -> StudyRun:
    """A run with its state from its folder; one without a folder is about to start where its coordinator is `active`.

    A user's wish that the folder does not reflect yet takes precedence.
    """
    folder = logs / run.run_id if run.run_id else None
    return current_run_of(read_row(folder) if folder and is_run(folder) else None, run, active)


def current_run_of(row: RunRow | None, run: StudyRun, active: bool = False) -> StudyRun:
    """The same, given the row of the run folder."""
    found = _run_from_row(row, run, active)
    if run.wish == "again" and found.state in ("failed", "stopped"):
        return replace(found, state="waiting", reason="")
    if run.wish == "hold" and found.state in ("waiting", "stopped"):
        reason = HOLD if found.reason in ("", HOLD) else f"{found.reason}; {HOLD}"
        return replace(found, state="stopped", reason=reason)
    return found


def _run_from_row(row: RunRow | None, run: StudyRun, active: bool) -> StudyRun:
    if row is None:
        kept = run.state == "failed" or (active and run.state == "running")
        reason = GONE if run.run_id and run.state not in ("waiting", "running") else ""
        return run if kept else replace(run, run_id=None, state="waiting", reason=reason, place="")
    reason = str(row.summary.get("reason", "")) or row.problem
    match row.status:
        case "running" | "paused":
            return replace(run, state="running", reason="")
        case "completed":
            early = row.summary.get("epoch") != row.summary.get("epochs")
            return replace(run, state="completed", reason=reason if early else "")
        case "failed" | "unreadable":
            return replace(run, state="failed", reason=reason)
        case "stopped" if reason.startswith(PRUNED):
            return replace(run, state="pruned", reason=reason.removeprefix(PRUNED))
        case "stopped":
            return replace(run, state="stopped", reason=reason)
        case _:
            # A process that was killed leaves no last event: keep a verdict on it, else the run can be resumed.
            return run if run.state in ("failed", "pruned") else replace(run, state="stopped", reason=KILLED)


def status_of(folder: Path, study: Study) -> StudyStatus:
    """`running` while a coordinator is active, else by the states of its runs."""
    if active_coordinators(folder):
        return "running"
    if not study.finished:
        return "unfinished"
    return "failed" if study.count("failed") else "completed"


def remove_incomplete_run(logs: Path, run_id: str) -> None:
    """Delete a run folder whose process died before it wrote run.json: nothing in it can be used."""
    folder = logs / run_id
    if folder.is_dir() and not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)


def is_study(folder: Path) -> bool:
    """Whether a folder is a study folder; a link to one is not, because it may lead anywhere."""
    return is_folder(folder) and os.path.lexists(folder / "study.json")


def study_folders(logs: Path) -> list[Path]:
    """The folders of all studies directly below a logs folder, newest last."""
    try:
        names = [entry.name for entry in os.scandir(logs) if RUN_ID.fullmatch(entry.name)]
    except OSError:
        return []
    return [logs / name for name in sorted(names) if is_study(logs / name)]


def find_study(logs: Path, reference: str) -> Path:
    """Find the folder of a study; see `matching_studies` for references.

    Raises:
        InputError: no study matches, or more than one.
    """
    folders = study_folders(logs)
    if not folders:
        raise InputError(
            f"there are no studies in {logs}", "choose another folder with --logs, or start one: torchdeck studies"
        )
    found = matching_studies(folders, reference)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"no study '{reference}' in {logs}", nearest(reference, names_of(folders)))
    listed = ", ".join(folder.name for folder in found[-5:])
    raise InputError(f"'{reference}' matches {len(found)} studies ({listed})", "write more of the id")


def find_either(logs: Path, reference: str) -> Study | RunRow:
    """Find the run or the study of a reference.

    Raises:
        InputError: nothing matches, or more than one.
        LogsError: study.json is missing, damaged or of a newer version.
    """
    folders = study_folders(logs)
    studies = matching_studies(folders, reference)
    if not studies:
        return _find_run(logs, reference, folders)
    runs = [row.id for row in list_runs(logs) if id_matches(row.id, reference)]
    if runs and studies[0].name != reference:
        listed = ", ".join([*(folder.name for folder in studies), *runs][:5])
        raise InputError(f"'{reference}' matches {len(studies) + len(runs)} runs and studies ({listed})", "write more")
    return load_study(find_study(logs, reference))


def _find_run(logs: Path, reference: str, studies: Sequence[Path]) -> RunRow:
    """Find a run; the hint of the error suggests studies as well."""
    try:
        return find_run(logs, reference)
    except InputError as error:
        if not studies or not error.message.startswith("no run '"):
            raise
        known = [*names_of(studies), *(row.id[-4:] for row in list_runs(logs)[-5:])]
        raise InputError(f"no run or study '{reference}' in {logs}", nearest(reference, known)) from None


def matching_studies(folders: Sequence[Path], reference: str) -> list[Path]:
    """The studies that match an id, a prefix, the last four characters, `@last`, or a name (the newest matches)."""
    if reference == "@last":
        return list(folders[-1:])
    exact = [folder for folder in folders if folder.name == reference]
    if found := exact or [folder for folder in folders if id_matches(folder.name, reference)]:
        return found
    return [folder for folder in folders if _name(folder) == reference][-1:]


def id_matches(run_id: str, reference: str) -> bool:
    """Whether a reference matches the id of a run or study."""
    return bool(reference) and (run_id.startswith(reference) or run_id[-4:] == reference)


def names_of(folders: Sequence[Path]) -> list[str]:
    """References to the newest studies, for suggestions."""
    recent = folders[-5:]
    named = dict.fromkeys(name for folder in recent if (name := _name(folder)))
    return [*named, *(folder.name for folder in recent), *(folder.name[-4:] for folder in recent), "@last"]


def _name(folder: Path) -> str:
    content = read_json(folder / "study.json")
    return str(content.get("name", "")) if isinstance(content, dict) else ""


def find_or_create(logs: Path, wanted: Study, now: float) -> Path:
    """The folder of the newest study with the same name and runs, or of a new study where there is none.

    Of several processes that call this at the same time, one creates it.

    Raises:
        LogsError: the folder cannot be written.
    """
    check_writable(logs)
    try:
        make_folders(logs)
        lock = open_lock(logs / ".studies.lock")
    except OSError as error:
        raise LogsError(
            f"the logs {logs} cannot be written ({disk_error_text(error)})", "choose another --logs"
        ) from None
    try:
        if not wait_for_lock(lock):
            message = "another process is creating a study and does not finish"
            raise BusyError(message, f"end the process that holds {logs / '.studies.lock'}")
        return newest_equal_study(logs, wanted) or create_study(logs, wanted, now)
    finally:
        os.close(lock)


def newest_equal_study(logs: Path, wanted: Study) -> Path | None:
    """The newest study with the same name and runs; None where there is none."""
    for folder in reversed(study_folders(logs)):
        content = read_json(folder / "study.json")
        with suppress(LogsError):
            found = study_of(folder, content)
            if found.name == wanted.name and _work(found) == _work(wanted):
                return folder
    return None


def _work(study: Study) -> Any:
    """What distinguishes the work of one study from another's, whatever is done of it already."""
    if study.search:
        return replace(study.search, importance={})
    return [(run.label[:MAX_LABEL_LENGTH], run.config) for run in study.runs]
