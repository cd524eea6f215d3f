"""Studies whose runs train nothing, and what must be true of a study at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from noop import NoOp

from torchdeck.core.devices.slots import Slot
from torchdeck.core.events import RunCompleted
from torchdeck.core.runs.index import read_header
from torchdeck.core.runs.reader import EventReader
from torchdeck.core.studies.executor import StudyOptions
from torchdeck.core.studies.store import load_study

FOUR = tuple(Slot(f"cpu {number}", "cpu") for number in range(1, 5))


def options(**changes: Any) -> StudyOptions:
    """Four slots whose runs train nothing."""
    own = StudyOptions(Path("nowhere"), FOUR, poll=0.0, clock=count().__next__, start=NoOp)
    return replace(own, **changes)


def run_folders(study: Path) -> dict[int, Path]:
    """The run directories of a study by their number; each number has one."""
    numbered: dict[int, Path] = {}
    for path in study.parent.glob("*/run.json"):
        number = read_header(path.parent)["study"]["number"]
        assert number not in numbered
        numbered[number] = path.parent
    return numbered


def trial_states(study: Path) -> Counter[str]:
    """How many trials the queue has in each state."""
    from torchdeck.core.studies.trial_queue import TrialQueue  # optuna

    return Counter(trial.state.name for trial in TrialQueue(study, load_study(study), 1)._optuna.trials)


def check_each_ran_once(study: Path, runs: int) -> None:
    """Each run has one directory, which completed once; the queue says the same."""
    folders = run_folders(study)
    assert sorted(folders) == list(range(runs))
    for folder in folders.values():
        events = list(EventReader(folder).read())
        assert sum(isinstance(event, RunCompleted) and event.status == "completed" for event in events) == 1
    assert load_study(study).count("completed") == runs
    states = trial_states(study)
    assert (states["COMPLETE"], states["WAITING"], states["RUNNING"]) == (runs, 0, 0)
