"""Studies on disk: make one, find one, load one with the state of each run.

A state in these files is a cache; `settled_run` corrects it by what the run's own directory says.
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
from ..utils.locks import wait_for_lock
from .coordinators import living
from .journal import DECLARED, read_content
from .model import GONE, HOLD, KILLED, PRUNED, Study, StudyRun, StudyStatus
from .reader import LONGEST_LABEL, MIN_READER, SCHEMA, study_of

LOCK_TIMEOUT = 60.0
"""Seconds that another process may take to make a study."""


def create_study(logs: Path, study: Study, now: float, disk: Disk = DISK) -> Path:
    """Make the folder of a new study with its study.json; nothing runs yet.

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
            f"the study {folder} cannot be made ({disk_error_text(error)})", "choose another --logs"
        ) from None
    return folder


def save_study(folder: Path, study: Study, disk: Disk = DISK) -> None:
    """Write study.json."""
    content = {"schema": SCHEMA, "min_reader": MIN_READER, **asdict(study)}
    write_atomically(folder / DECLARED, to_json_bytes(content), durable=True, disk=disk)


def load_study(folder: Path) -> Study:
    """The study of a folder, each run as its own directory tells it.

    Raises:
        LogsError: study.json is missing, damaged or of a newer version.
    """
    study, alive = study_of(folder, read_content(folder)), living(folder)
    return replace(study, runs=tuple(settled_run(folder.parent, run, run.parent in alive) for run in study.runs))


def settled_run(logs: Path, run: StudyRun, active: bool = False) -> StudyRun:
    """One run as its directory tells it; one without a directory is about to begin where its parent is `active`.

    A wish that its directory does not know of has the last word.
    """
    folder = logs / run.run_id if run.run_id else None
    return settled_by(read_row(folder) if folder and is_run(folder) else None, run, active)


def settled_by(row: RunRow | None, run: StudyRun, active: bool = False) -> StudyRun:
    """The same, of a directory that was read."""
    found = _told(row, run, active)
    if run.wish == "again" and found.state in ("failed", "stopped"):
        return replace(found, state="waiting", reason="")
    if run.wish == "hold" and found.state in ("waiting", "stopped"):
        reason = HOLD if found.reason in ("", HOLD) else f"{found.reason}; {HOLD}"
        return replace(found, state="stopped", reason=reason)
    return found


def _told(row: RunRow | None, run: StudyRun, active: bool) -> StudyRun:
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
            # A process that was killed leaves no last event: a verdict on it stands, else the run can go on.
            return run if run.state in ("failed", "pruned") else replace(run, state="stopped", reason=KILLED)


def status_of(folder: Path, study: Study) -> StudyStatus:
    """Whether a process works on the study, else how far it is."""
    if living(folder):
        return "running"
    if not study.finished:
        return "unfinished"
    return "failed" if study.count("failed") else "completed"


def clear_unborn(logs: Path, run_id: str) -> None:
    """Remove a run directory whose process died before it wrote run.json: nothing of it can be used."""
    folder = logs / run_id
    if folder.is_dir() and not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's; a link to one is not, for it may lead anywhere."""
    return is_folder(folder) and os.path.lexists(folder / "study.json")


def study_folders(logs: Path) -> list[Path]:
    """The folders of all studies below a logs folder, the newest last."""
    try:
        names = [entry.name for entry in os.scandir(logs) if RUN_ID.fullmatch(entry.name)]
    except OSError:
        return []
    return [logs / name for name in sorted(names) if is_study(logs / name)]


def find_study(logs: Path, reference: str) -> Path:
    """The folder of the study that a reference means: see `meant`.

    Raises:
        InputError: none, or more than one.
    """
    folders = study_folders(logs)
    if not folders:
        raise InputError(
            f"there are no studies in {logs}", "name their folder with --logs, or start one: torchdeck studies"
        )
    found = meant(folders, reference)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"no study '{reference}' in {logs}", nearest(reference, names_of(folders)))
    listed = ", ".join(folder.name for folder in found[-5:])
    raise InputError(f"'{reference}' means {len(found)} studies ({listed})", "write more of the id")


def find_either(logs: Path, reference: str) -> Study | RunRow:
    """The run or the study that a reference means.

    Raises:
        InputError: none, or more than one.
        LogsError: study.json is missing, damaged or of a newer version.
    """
    folders = study_folders(logs)
    studies = meant(folders, reference)
    if not studies:
        return _find_run(logs, reference, folders)
    runs = [row.id for row in list_runs(logs) if matches(row.id, reference)]
    if runs and studies[0].name != reference:
        listed = ", ".join([*(folder.name for folder in studies), *runs][:5])
        raise InputError(f"'{reference}' means {len(studies) + len(runs)} runs and studies ({listed})", "write more")
    return load_study(find_study(logs, reference))


def _find_run(logs: Path, reference: str, studies: Sequence[Path]) -> RunRow:
    """The run that a reference means; where it means none, the studies are named as well."""
    try:
        return find_run(logs, reference)
    except InputError as error:
        if not studies or not error.message.startswith("no run '"):
            raise
        known = [*names_of(studies), *(row.id[-4:] for row in list_runs(logs)[-5:])]
        raise InputError(f"no run or study '{reference}' in {logs}", nearest(reference, known)) from None


def meant(folders: Sequence[Path], reference: str) -> list[Path]:
    """The studies that an id, a prefix, last four characters, `@last`, or the name of the newest may mean."""
    if reference == "@last":
        return list(folders[-1:])
    exact = [folder for folder in folders if folder.name == reference]
    if found := exact or [folder for folder in folders if matches(folder.name, reference)]:
        return found
    return [folder for folder in folders if _name(folder) == reference][-1:]


def matches(run_id: str, reference: str) -> bool:
    """Whether a reference may mean the run or study of this id."""
    return bool(reference) and (run_id.startswith(reference) or run_id[-4:] == reference)


def names_of(folders: Sequence[Path]) -> list[str]:
    """What the newest studies can be called by."""
    recent = folders[-5:]
    named = dict.fromkeys(name for folder in recent if (name := _name(folder)))
    return [*named, *(folder.name for folder in recent), *(folder.name[-4:] for folder in recent), "@last"]


def _name(folder: Path) -> str:
    content = read_json(folder / "study.json")
    return str(content.get("name", "")) if isinstance(content, dict) else ""


def find_or_create(logs: Path, wanted: Study, now: float) -> Path:
    """The folder of the newest study that is to do just what this one is, or of a new one where there is none.

    Of processes that ask at the same moment, one makes it.

    Raises:
        LogsError: the folder cannot be written.
    """
    check_writable(logs)
    try:
        make_folders(logs)
        lock = DISK.open(logs / ".studies.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LogsError(
            f"the logs {logs} cannot be written ({disk_error_text(error)})", "choose another --logs"
        ) from None
    try:
        if not wait_for_lock(lock, LOCK_TIMEOUT):
            told = "another process makes a study and does not end"
            raise BusyError(told, f"end the one that keeps {logs / '.studies.lock'}")
        return latest_like(logs, wanted) or create_study(logs, wanted, now)
    finally:
        os.close(lock)


def latest_like(logs: Path, wanted: Study) -> Path | None:
    """The newest study that is to do just what this one is; None where there is none."""
    for folder in reversed(study_folders(logs)):
        content = read_json(folder / "study.json")
        with suppress(LogsError):
            found = study_of(folder, content)
            if found.name == wanted.name and _work(found) == _work(wanted):
                return folder
    return None


def _work(study: Study) -> Any:
    """What there is to do, whatever was done of it: the drawn runs of a search are no part of it."""
    if study.search:
        return replace(study.search, importance={})
    return [(run.label[:LONGEST_LABEL], run.config) for run in study.runs]
