"""Who may read and write what is on disk: the umask decides, and locks are never for everybody."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_counts import Faults
from study_runs import options

from torchdeck import presets
from torchdeck.core.events import RunCompleted, RunEvent
from torchdeck.core.runs.index import RunIndex
from torchdeck.core.runs.layout import CONSOLE
from torchdeck.core.runs.reader import load_record, settle_status
from torchdeck.core.session.session import SessionContext, run
from torchdeck.core.studies.run_study import run_study
from torchdeck.core.studies.store import find_or_create
from torchdeck.core.utils import locks
from torchdeck.core.utils.locks import is_held, take_lock
from torchdeck.presets.study_presets import grid_study
from torchdeck.tui.terminal.captured_output import append_output

Train = Callable[..., list[RunEvent]]


@pytest.fixture(params=[0o002, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The umask of this process, as a group or a person sets it."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_follow_the_umask_and_locks_are_for_owner_and_group(
    train: Train, small: Any, tmp_path: Path, umask: int, faults: Faults
) -> None:
    logs = tmp_path / "logs"
    train(small({"training.epochs": 1}))
    (folder,) = logs.iterdir()
    append_output("printed", folder / CONSOLE)
    study = find_or_create(logs, grid_study(presets.load("quickstart"), ["training.seed=1,2"]), 0.0)
    list(run_study(study, options=options()))
    kinds: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    for path in [logs, *logs.rglob("*")]:
        is_lock = path.suffix in (".lock", ".workers")
        given = 0o777 if path.is_dir() else 0o660 if is_lock else 0o666
        if stat.S_IMODE(path.stat().st_mode) != given & ~umask:
            wrong[str(path.relative_to(logs))] = oct(path.stat().st_mode)
        kinds["lock" if is_lock else path.name] += 1
    faults("files under a umask", kinds.total(), lost=len(wrong))
    assert wrong == {}
    assert kinds["lock"] >= 4
    assert {"events.jsonl", "run.json", CONSOLE, "study.json", "changes.jsonl", "checkpoints"} <= set(kinds)


def test_a_lock_that_everybody_could_read_is_closed_when_it_is_taken_again(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    lock.write_bytes(b"")
    lock.chmod(0o664)
    os.close(take_lock(lock))
    assert stat.S_IMODE(lock.stat().st_mode) == 0o660


@pytest.mark.parametrize(("now", "status"), [("now", "running"), ("decades ago", "unknown")])
def test_who_cannot_read_the_lock_gets_the_status_from_the_age_of_the_last_event(
    small: Any, context: SessionContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str, status: str
) -> None:
    clock = time.time if now == "now" else context.now
    list(run(small({"training.epochs": 2}), tmp_path / "logs", context=replace(context, now=clock)))
    (folder,) = (tmp_path / "logs").iterdir()
    log = (folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "events.jsonl").write_bytes(b"".join(log[:-1]))
    for cache in ("summary.json", "curves.json"):
        (folder / cache).unlink()
    assert load_record(folder).status == "died"

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locks, "open_regular", denied)
    assert is_held(folder / "run.lock") is None
    record = load_record(folder)
    assert (record.status, RunIndex(tmp_path / "logs").rows()[0].status) == (status, status)
    assert record.warnings == ["the lock cannot be tested: the status is by the age of the last event"]
    ended = RunCompleted(status="completed", reason="", epoch=2, step=6, train_seconds=1.0, peak_memory=None)
    record.warnings, record.ending, record.status = [], ended, "completed"
    settle_status(record, None)
    assert (record.status, record.warnings) == ("completed", [])
