"""Real processes that are killed while they work on a study: each of its runs is done once all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fault_counts import Faults
from study_runs import check_each_ran_once, run_folders, trial_states

from torchdeck import presets
from torchdeck.core.config import parse_config, to_plain
from torchdeck.core.devices.slots import parse_slots
from torchdeck.core.events import EpochCompleted, RunStarted
from torchdeck.core.runs.reader import EventReader
from torchdeck.core.studies.events import RunEventForwarded, RunStartedInStudy, StudyEnded
from torchdeck.core.studies.executor import StudyOptions
from torchdeck.core.studies.model import StudyRun
from torchdeck.core.studies.run_study import run_study
from torchdeck.core.studies.store import create_study, load_study
from torchdeck.presets.study_presets import grid_study

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_programs")]

TINY = ("data.train_limit=32", "data.test_limit=32", "training.batch_size=32", "training.threads=1")
TINY += ("training.epochs=1", "training.precision=fp32")
RUNS = 24


def a_study(logs: Path, longer: int) -> Path:
    """The folder of a study of runs that train next to nothing; the first ones take a second."""
    seeds = ",".join(map(str, range(RUNS)))
    study = grid_study(presets.load("quickstart"), [f"training.seed={seeds}", *TINY])
    runs = [lengthened(run) if run.number < longer else run for run in study.runs]
    return create_study(logs, replace(study, runs=tuple(runs)), 0.0)


def lengthened(run: StudyRun) -> StudyRun:
    training = {**run.config["training"], "epochs": 60}
    return replace(run, config=to_plain(parse_config({**run.config, "training": training})))


def kill(run: Path) -> bool:
    """Kill the process that trains a run; whether it was there to be killed."""
    with suppress(ProcessLookupError):
        os.kill(json.loads((run / "run.lock").read_text())["pid"], signal.SIGKILL)
        return True
    return False


def test_two_of_four_workers_are_killed_and_their_runs_go_on_where_they_stood(tmp_path: Path, faults: Faults) -> None:
    study = a_study(tmp_path / "logs", 4)
    options = StudyOptions(tmp_path / "data", tuple(parse_slots("cpu:4")), poll=0.02)
    killed, begun = dict[int, int](), Counter[int]()
    outcome = ""
    for event in run_study(study, options=options):
        match event:
            case RunStartedInStudy():
                begun[event.run.number] += 1
                assert event.resumed == (begun[event.run.number] > 1)
            case RunEventForwarded(event=EpochCompleted() as said) if len(killed) < 2 and event.number not in killed:
                if kill(study.parent / event.run_id):
                    killed[event.number] = said.step
            case StudyEnded():
                outcome = event.outcome
    faults("killed workers", len(killed), crashes=outcome != "completed")
    assert outcome == "completed"
    assert begun == Counter([*range(RUNS), *killed])
    check_each_ran_once(study, RUNS)
    assert trial_states(study) == {"COMPLETE": RUNS, "FAIL": 2}
    for number, step in killed.items():
        events = EventReader(run_folders(study)[number]).read()
        first, second = (event for event in events if isinstance(event, RunStarted))
        assert first.resumed_from is None
        assert (second.resumed_from or 0) >= step - 1


def joined(study: Path) -> subprocess.Popen[str]:
    command = ["study", study.name, "--join", "--devices", "cpu:2", "--json", "--logs", str(study.parent)]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "torchdeck.tui.cli", *command, "--data", str(study.parent.parent / "data")],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_of_two_joined_processes_one_is_killed_and_the_other_does_what_is_left(tmp_path: Path, faults: Faults) -> None:
    study = a_study(tmp_path / "logs", 4)
    first, second = joined(study), joined(study)
    with first, second:
        assert first.stdout
        assert second.stdout
        own = 0
        for line in map(json.loads, first.stdout):
            own += line["kind"] == "RunSaid" and line["event"]["kind"] == "EpochCompleted"
            if own == 5:
                first.kill()
                break
        told = [json.loads(line) for line in second.stdout]
    faults("killed study processes", crashes=second.returncode != 0)
    assert second.returncode == 0
    assert told[-1]["outcome"] == "completed"
    check_each_ran_once(study, RUNS)
    assert {run.state for run in load_study(study).runs} == {"completed"}
    # What the killed one trained was told by the other as it came.
    assert any(line["elsewhere"] for line in told if line["kind"] == "RunBegan")
