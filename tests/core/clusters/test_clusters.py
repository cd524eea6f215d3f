"""Runs that a cluster places, without one: what is told of their jobs, what they are asked, what follows a lost one."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from torchdeck import presets
from torchdeck.core.clusters import RunResources, cluster_slots
from torchdeck.core.clusters.ray_runs import Ray, RayRun
from torchdeck.core.clusters.slurm import JobResources, Slurm
from torchdeck.core.clusters.slurm_run import RESUBMIT_SECONDS, SlurmRun
from torchdeck.core.clusters.slurm_script import SETUP_LINES, TEARDOWN_LINES, signal_lead_seconds
from torchdeck.core.clusters.squeue import JobListing, JobState, parse_jobs
from torchdeck.core.config import ExperimentConfig, to_plain
from torchdeck.core.control import CommandName
from torchdeck.core.devices.slots import Slot
from torchdeck.core.errors import InputError
from torchdeck.core.events import CommandApplied, RunCompleted, RunEvent, RunStarted, stamp
from torchdeck.core.runs.commands import FolderControl
from torchdeck.core.runs.reader import EventReader, load_record
from torchdeck.core.runs.request import is_requested, load_request, write_request
from torchdeck.core.runs.writer import RunWriter, claim, reopen
from torchdeck.core.studies.events import RunStartedInStudy, StudyEnded
from torchdeck.core.studies.model import PRUNED
from torchdeck.core.studies.run_study import StudyOptions, run_study
from torchdeck.core.studies.store import create_study, load_study, save_study
from torchdeck.core.studies.trial_queue import TrialQueue
from torchdeck.presets.study_presets import grid_study
from torchdeck.tui.cli.main import app

pytestmark = pytest.mark.usefixtures("forked_programs")

WAITS, RUNS = JobState("PENDING", "Priority"), JobState("RUNNING", "None", "n1")
INTERRUPTED = "signal SIGUSR2"
RUN = "20270115-080000-quickstart-aaaa"


def started(resumed_from: int | None = None) -> RunStarted:
    return RunStarted(
        run_id=RUN, resumed_from=resumed_from, preset="quickstart", name="", reported=(), config={}, device="cpu",
        device_name="CPU", parameters=1, forward_flops=1, epochs=8, steps_per_epoch=2, train_images=4, test_images=4,
        class_names=("a", "b"), chosen_on="test", reproducible="exact",
    )  # fmt: skip


def ended(status: str = "completed", reason: str = "all epochs are done", step: int = 16) -> RunCompleted:
    return RunCompleted(status=status, reason=reason, epoch=step // 2, step=step, train_seconds=1.0)


class Machine:
    """Where a job of the run trains: it writes the run's log, and looks at what it is asked."""

    def __init__(self, logs: Path, run_id: str = RUN) -> None:
        self.folder = logs / run_id
        self._writer: RunWriter | None = None
        self._numbers = itertools.count()

    def begins(self) -> None:
        """Claim the run, or go on with it."""
        resumed = self.folder.exists()
        header = {"preset": "quickstart"}
        self._writer = reopen(self.folder) if resumed else claim(self.folder.parent, self.folder.name, header)
        self.says(started(load_record(self.folder).step if resumed else None))

    @property
    def trains(self) -> bool:
        return self._writer is not None

    def says(self, event: RunEvent) -> None:
        assert self._writer
        self._writer.append(stamp(event, seq=next(self._numbers), t=0.0, attempt=1))

    def ends(self, event: RunEvent) -> None:
        assert self._writer
        self.says(event)
        self._writer.close()

    def asked(self) -> tuple[CommandName, str] | None:
        """What the training loop would find."""
        ticks = itertools.count()
        control = FolderControl(Nobody(), self.folder, lambda: float(next(ticks)))
        return control.take()


class Nobody:
    def take(self) -> None:
        return None

    def wait(self, seconds: float) -> None:
        pass


class Scheduler:
    """A Slurm that tells of its jobs at once, and does what a test says."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobState] = {}
        self.cancelled: list[tuple[str, bool]] = []
        self.refusal = ""
        self.seconds = 0.0
        self._numbers = itertools.count(1)

    def clock(self) -> float:
        self.seconds += 0.01
        return self.seconds

    def submit(self, _request: Mapping[str, Any], _console: Path) -> str:
        if self.refusal:
            raise InputError(self.refusal)
        job = str(next(self._numbers))
        self.jobs[job] = WAITS
        return job

    def jobs_since(self, _moment: float) -> dict[str, JobState] | None:
        return dict(self.jobs)

    def cancel(self, job: str, *, waiting_only: bool) -> None:
        self.cancelled.append((job, waiting_only))


@pytest.fixture
def slurm() -> Scheduler:
    return Scheduler()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "logs")
    made.folder.parent.mkdir()
    return made


@pytest.fixture
def run(slurm: Scheduler, machine: Machine, tmp_path: Path) -> SlurmRun:
    request = {"logs": str(machine.folder.parent), "run_id": RUN}
    return SlurmRun(slurm, request, tmp_path / "0000.log", clock=slurm.clock)


def test_a_job_tells_where_it_waits_and_where_it_trains(run: SlurmRun, slurm: Scheduler) -> None:
    assert not run.ended
    assert run.place == "Slurm job 1 waits: Priority"
    slurm.jobs["1"] = RUNS
    assert not run.ended
    assert run.place == "n1, job 1"


def test_a_completed_run_is_over_once_its_job_is_gone(run: SlurmRun, slurm: Scheduler, machine: Machine) -> None:
    slurm.jobs["1"] = RUNS
    machine.begins()
    machine.ends(ended())
    assert not run.ended
    slurm.jobs["1"] = JobState("COMPLETED")
    assert run.ended


def test_a_job_that_requeues_itself_is_waited_for(run: SlurmRun, slurm: Scheduler, machine: Machine) -> None:
    machine.begins()
    machine.ends(ended("stopped", INTERRUPTED, 5))
    slurm.jobs["1"] = JobState("PREEMPTED")
    assert not run.ended
    slurm.jobs["1"] = JobState("PENDING", "BeginTime")
    assert not run.ended
    assert run.place == "Slurm job 1 waits: BeginTime"
    machine.begins()
    machine.ends(ended())
    del slurm.jobs["1"]
    assert run.ended


def test_an_interrupted_run_whose_job_is_gone_gets_another(run: SlurmRun, slurm: Scheduler, machine: Machine) -> None:
    machine.begins()
    machine.ends(ended("stopped", INTERRUPTED, 5))
    slurm.jobs["1"] = JobState("TIMEOUT")
    assert not run.ended
    assert not run.ended
    assert run.place == "Slurm job 2 waits: queued"


def test_a_refused_job_is_told_and_submitted_again_later(run: SlurmRun, slurm: Scheduler, machine: Machine) -> None:
    machine.begins()
    machine.ends(ended("stopped", INTERRUPTED, 5))
    slurm.jobs["1"], slurm.refusal = JobState("PREEMPTED"), "the queue is full"
    assert not run.ended
    assert not run.ended
    assert run.place == "Slurm does not accept its job: the queue is full"
    slurm.refusal = ""
    assert not run.ended
    assert "does not accept" in run.place
    slurm.seconds += RESUBMIT_SECONDS
    assert not run.ended
    assert run.place == "Slurm job 2 waits: queued"


def test_a_job_that_a_person_cancelled_is_not_followed(run: SlurmRun, slurm: Scheduler, machine: Machine) -> None:
    machine.begins()
    machine.ends(ended("stopped", "signal SIGTERM", 5))
    slurm.jobs["1"] = JobState("CANCELLED")
    assert not run.ended
    assert run.ended
    assert list(slurm.jobs) == ["1"]


def test_a_job_that_died_is_told_with_what_slurm_says(run: SlurmRun, slurm: Scheduler, machine: Machine) -> None:
    machine.begins()
    slurm.jobs["1"] = JobState("OUT_OF_MEMORY")
    assert [run.ended, run.ended] == [False, True]
    assert "its Slurm job 1 is out of memory; see " in run.exit_text()


def test_a_run_that_does_not_train_yet_loses_its_job_when_it_is_to_stop(run: SlurmRun, slurm: Scheduler) -> None:
    run.send("stop", "enough")
    assert slurm.cancelled == [("1", False)]
    slurm.jobs["1"] = JobState("CANCELLED")
    assert [run.ended, run.ended] == [False, True]


def test_a_stop_reaches_the_attempt_that_begins_after_it(run: SlurmRun, slurm: Scheduler, machine: Machine) -> None:
    slurm.jobs["1"] = RUNS
    machine.begins()
    machine.ends(ended("stopped", INTERRUPTED, 5))
    run.send("stop", "enough")
    assert slurm.cancelled[-1] == ("1", True)
    machine.begins()
    assert not run.ended
    assert machine.asked() == ("stop", "enough")
    machine.says(CommandApplied(command="stop", reason="enough", step=6))
    machine.ends(ended("stopped", "enough", 6))
    assert not run.ended
    assert machine.asked() is None
    slurm.jobs["1"] = JobState("COMPLETED")
    assert [run.ended, run.ended] == [False, True]
    assert list(slurm.jobs) == ["1"]


def test_a_run_that_is_pruned_while_it_waits_goes_on_to_say_so(
    run: SlurmRun, slurm: Scheduler, machine: Machine
) -> None:
    machine.begins()
    machine.ends(ended("stopped", INTERRUPTED, 5))
    run.send("stop", f"{PRUNED}worse than the median")
    assert slurm.cancelled == []
    machine.begins()
    assert not run.ended
    assert machine.asked() == ("stop", f"{PRUNED}worse than the median")


def test_a_run_whose_job_an_earlier_process_left_is_looked_after(
    slurm: Scheduler, machine: Machine, tmp_path: Path
) -> None:
    slurm.jobs["7"] = RUNS
    machine.begins()
    request = {"logs": str(machine.folder.parent), "run_id": RUN}
    run = SlurmRun(slurm, request, tmp_path / "0000.log", "7", slurm.clock)
    assert not run.ended
    assert run.place == "n1, job 7"
    assert list(slurm.jobs) == ["7"]


def test_what_slurm_lists_is_read_with_its_odd_lines() -> None:
    listing = "12|PENDING|Resources||run-a\n13|RUNNING|None|n[1-2]|run-b\nslurm_load_jobs error\n"
    assert parse_jobs(listing) == {
        "12": JobState("PENDING", "Resources", "", "run-a"),
        "13": JobState("RUNNING", "None", "n[1-2]", "run-b"),
    }


def test_a_slurm_that_does_not_answer_takes_no_job_for_gone() -> None:
    ticks = itertools.count()
    listing = JobListing(lambda: None, lambda: float(next(ticks)), every=0.0)
    assert listing.jobs_since(-1.0) is None
    assert listing.jobs_since(-1.0) is None


@pytest.mark.parametrize(
    ("code", "state", "requeued"),
    [(75, "RUNNING", True), (75, "COMPLETING", False), (0, "RUNNING", False), (1, "RUNNING", False)],
)
def test_a_script_requeues_only_a_job_that_stopped_with_a_checkpoint_and_that_slurm_does_not_end(
    tmp_path: Path, code: int, state: str, requeued: bool
) -> None:
    executable(tmp_path / "squeue", f"echo {state}")
    executable(tmp_path / "scontrol", f'echo "$@" > {tmp_path / "asked"}')
    script = "\n".join([*SETUP_LINES, f"sh -c 'kill -USR2 $PPID; exit {code}'", *TEARDOWN_LINES])
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    assert subprocess.run(["bash", "-c", script], env=environment, check=False).returncode == code
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 7\n" if requeued else "")


def executable(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.fixture
def wanted() -> JobResources:
    return JobResources(RunResources(gpus=2, cpus=4), 3 * 3600 + 1, "gpu")


def asked_for(logs: Path) -> dict[str, Any]:
    about = {"preset": "quickstart", "name": "", "tags": [], "reported": [], "config": {}}
    return {**about, "logs": str(logs), "data": str(logs), "run_id": RUN, "study": {"id": "the-study", "number": 0}}


def test_a_job_asks_slurm_for_what_was_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: JobResources
) -> None:
    pytest.importorskip("submitit")
    executable(tmp_path / "srun", "")
    executable(tmp_path / "sbatch", f'cp "$1" {tmp_path / "script"}; echo Submitted batch job 7')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    workers = tmp_path / "logs" / "the-study" / "workers"
    assert Slurm(wanted).submit(asked_for(tmp_path / "logs"), workers / "0000.log") == "7"
    script = (tmp_path / "script").read_text()
    for flag in ("time=181", "partition=gpu", "gpus-per-node=2", "cpus-per-task=4", "requeue", "signal=USR2@120",
                 "job-name=the-study", f"comment={RUN}"):  # fmt: skip
        assert f"#SBATCH --{flag}\n" in script
    assert is_requested(tmp_path / "logs" / RUN)


def test_what_slurm_has_against_a_job_is_told_and_nothing_is_printed_or_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: JobResources, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    executable(tmp_path / "srun", "")
    executable(
        tmp_path / "sbatch", "echo sbatch: error: Batch job submission failed: Invalid partition name >&2; exit 1"
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(InputError, match="Invalid partition name; see sinfo"):
        Slurm(wanted).start(asked_for(tmp_path / "logs"), tmp_path / "workers" / "0000.log", 0, Slot("slurm 1"))
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "logs" / RUN).exists()


TRAINED = """
import os, signal, sys
from pathlib import Path
from torchdeck.core.clusters.slurm_job import train

def taken(number, handler, take=signal.signal):
    before = take(number, handler)
    if number == signal.SIGUSR2 and disturbed:
        os.kill(os.getpid(), number)
    return before

signal.signal, folder, codes = taken, Path(sys.argv[1]), []
for restarts, disturbed in ((0, True), (3, True), (0, False), (0, False)):
    codes.append(train(folder, sys.argv[2], restarts))
print(codes)
"""


def test_a_job_that_is_interrupted_comes_again_unless_in_vain_and_one_that_comes_late_has_nothing_to_do(
    tmp_path: Path, small: Callable[..., ExperimentConfig]
) -> None:
    folder = tmp_path / "logs" / RUN
    write_request(folder, {**asked_for(tmp_path / "logs"), "study": None, "config": to_plain(small())})
    command = [sys.executable, "-P", "-c", TRAINED, str(folder), str(tmp_path / "data")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[-1] == "[75, 1, 0, 0]"
    assert "4 jobs were interrupted before the run made a single step" in said[0]
    assert [event.attempt for event in EventReader(folder).read() if isinstance(event, RunCompleted)] == [1]


@pytest.mark.parametrize(("seconds", "ahead"), [(4 * 3600, 120), (120, 30), (60, 15)])
def test_a_job_is_warned_in_time_of_its_end(seconds: float, ahead: int) -> None:
    assert signal_lead_seconds(seconds) == ahead


def test_a_place_of_a_cluster_sees_only_its_share() -> None:
    slots = cluster_slots("slurm", 3, RunResources(gpus=2, cpus=4))
    assert [(slot.name, slot.device, slot.threads) for slot in slots[:2]] == [
        ("slurm 1", "cuda:0,1", 2),
        ("slurm 2", "cuda:0,1", 2),
    ]
    assert cluster_slots("ray", 1, RunResources(cpus=2))[0].device == "cpu"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--partition", "gpu"], "without --on slurm"),
        (["--max-parallel", "4"], "without --on slurm or --on ray"),
        (["--on", "slurm", "--address", "host:1"], "without --on ray"),
        (["--on", "slurm", "--devices", "0,1"], "--gpus-per-run"),
        (["--on", "slurm"], "there is no sbatch command"),
    ],
)
@pytest.mark.parametrize("command", [["study", "lenet-batch-size"], ["sweep", "lenet", "optimizer.lr=0.1,0.2"]])
def test_options_without_effect_and_a_missing_slurm_are_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], options: list[str], told: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    logs = tmp_path / "logs"
    result = CliRunner().invoke(app, [*command, *options, "--logs", str(logs)])
    assert isinstance(result.exception, InputError)
    assert told in str(result.exception)
    assert not logs.exists()


@pytest.mark.parametrize("command", ["study", "sweep", "search"])
def test_every_command_that_works_on_a_study_has_the_same_options(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    for option in ("--on", "--partition", "--time", "--address", "--max-parallel", "--gpus-per-run", "--budget"):
        assert option in shown


class Done:
    """A worker whose run is complete as soon as it is asked about."""

    place, ended = "n1", True

    def __init__(self, machine: Machine) -> None:
        if not machine.trains:
            machine.begins()
        machine.ends(ended(step=16))

    def send(self, _command: CommandName, _reason: str) -> None: ...

    def close(self) -> None: ...

    def exit_text(self) -> str:
        return "gone"

    def failure(self) -> None: ...


def test_runs_that_an_earlier_process_left_to_a_cluster_come_first_and_keep_their_trials(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    folder = create_study(logs, grid_study(presets.load("quickstart"), ["optimizer.lr=0.1,0.2,0.3"]), 0.0)
    study = load_study(folder)
    queue = TrialQueue(folder, study, 8)
    queue.reconcile(study.runs, lambda _: None)
    for _ in range(2):
        assert queue.claim(False)
    machine = Machine(logs, "20270115-080000-quickstart-left")
    machine.begins()
    save_study(folder, study.with_run(replace(study.runs[1], run_id=machine.folder.name, state="running")))

    def start(request: Mapping[str, Any], _console: Path, _lock: int, _slot: Slot) -> Done:
        return Done(machine if request["run_id"] == machine.folder.name else Machine(logs, request["run_id"]))

    options = StudyOptions(
        tmp_path,
        cluster_slots("slurm", 1, RunResources()),
        start=start,
        leftover_runs=lambda _: {machine.folder.name},
        poll=0.0,
    )
    events = list(run_study(folder, options=options))
    assert [event.run.number for event in events if isinstance(event, RunStartedInStudy)] == [1, 2, 0]
    last = events[-1]
    assert isinstance(last, StudyEnded)
    assert last.outcome == "completed"
    trials = TrialQueue(folder, study, 8)._optuna.trials
    assert Counter(trial.user_attrs["run"] for trial in trials) == {0: 2, 1: 1, 2: 1}


def test_sbatch_prints_a_script_and_makes_the_run_that_it_trains(tmp_path: Path) -> None:
    logs = tmp_path / "logs of mine"
    options = ["--nodes", "2", "--devices", "4", "--time", "90m", "--partition", "gpu", "--logs", str(logs)]
    printed = CliRunner().invoke(app, ["sbatch", "resnet18", *options])
    assert printed.exit_code == 0
    script, (folder,) = printed.stdout, logs.iterdir()
    assert is_requested(folder)
    training = load_request(folder)["config"]["training"]
    assert (training["device"], training["nodes"]) == ("cuda:0,1,2,3", 2)
    for flag in ("nodes=2", "ntasks-per-node=1", "gpus-per-node=4", "time=90", "partition=gpu", "signal=USR2@120"):
        assert f"#SBATCH --{flag}\n" in script
    assert f"-m torchdeck.core.processes.worker '{folder}'" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert folder.name in printed.stderr


@pytest.mark.parametrize(
    "options", [["--devices", "0,x"], ["--time", "soon"], ["training.batch_size=1", "--nodes", "2"]]
)
def test_a_script_that_cannot_be_is_refused_and_nothing_is_made(tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["sbatch", "quickstart", *options, "--logs", str(tmp_path / "logs")])
    assert isinstance(result.exception, InputError)
    assert not (tmp_path / "logs").exists()


class Tasks:
    """What a run needs of `Ray`; a test says which tasks are over."""

    def __init__(self) -> None:
        self.finished: dict[str, str] = {}
        self.is_lost = False
        self.orders: list[Mapping[str, Any]] = []

    def send(self, content: Mapping[str, Any]) -> None:
        self.orders.append(content)


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


@pytest.fixture
def task(tasks: Tasks, machine: Machine, tmp_path: Path) -> RayRun:
    return RayRun(cast("Ray", tasks), asked_for(machine.folder.parent), tmp_path / "0000.log")


def test_a_task_that_waits_is_taken_back_when_its_run_is_to_stop(task: RayRun, tasks: Tasks) -> None:
    assert (task.ended, task.place) == (False, "queued in Ray")
    task.send("stop", "enough")
    assert tasks.orders[1:] == [{"cancel": RUN}]
    tasks.finished[RUN] = "its Ray task was lost: cancelled"
    assert (task.ended, task.exit_text()) == (True, "its Ray task was lost: cancelled")


def test_a_task_that_trains_hears_a_stop_by_its_run_s_directory(task: RayRun, tasks: Tasks, machine: Machine) -> None:
    machine.begins()
    assert (task.ended, task.place) == (False, f"{os.uname().nodename}, by Ray")
    task.send("stop", "enough")
    assert machine.asked() == ("stop", "enough")
    assert len(tasks.orders) == 1


def test_where_ray_is_lost_a_run_is_over_once_nobody_trains_it(task: RayRun, tasks: Tasks, machine: Machine) -> None:
    machine.begins()
    tasks.is_lost = True
    assert not task.ended
    machine.ends(ended("stopped", "the process that started the run is gone", 3))
    assert (task.ended, task.exit_text()) == (True, "the connection to Ray was lost")
