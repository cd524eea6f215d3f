"""The worker, `python -P -m torchdeck.core.processes.worker [RUN_FOLDER]`: trains one run without a screen.

Without a folder, the first line of stdin is the request as JSON and every further line a command; the end of stdin
means that the parent is gone, and stops the run with a checkpoint. A detached run has no such tie: it ends when it is
done, or on a command in its folder. With a folder, the worker trains the run requested there, or resumes it: as a job
of a scheduler, or as a rank. For a run on several devices this process becomes the agent, which starts the ranks.

`-P` keeps Python from importing a folder named torchdeck in the working directory instead.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from ..config import ExperimentConfig, parse_config, ranks_of
from ..control import CommandName, Control
from ..errors import InputError, LogsError, TorchdeckError
from ..events import Failure, RunCompleted, RunEvent, RunFailed, RunStarted, to_json
from ..runs.layout import CONSOLE
from ..runs.reader import load_record
from ..runs.request import load_request, write_request
from ..utils.files import disk_error_text
from ..utils.gc_tuning import collect_rarely

if TYPE_CHECKING:
    from ..training.process_group import Ranks

SAMPLE_SECONDS = 1.0
DETACHED_SAMPLE_SECONDS = 0.2
"""Seconds between two figures; shorter than for a study's worker, because somebody may watch a detached run live."""

EXIT_STOPPED_BY_SCHEDULER = 75
MEETING_HINT = "start it with torchdeck sbatch, or on each machine with --rendezvous HOST:PORT (see docs/scaling.md)"
RANK_TIMEOUT = 600.0
"""Seconds without an answer after which a rank counts as dead."""


class WorkerControl(Control):
    """Commands from stdin and from signals; `stopping` is set by a stop, which may arrive before there is a run."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()

    def request(self, command: CommandName, reason: str = "") -> None:
        if command == "stop":
            self.stopping.set()
        super().request(command, reason)

    def listen(self, lines: BinaryIO) -> None:
        """Queue the commands that arrive on stdin, and a stop at its end."""
        for line in lines:
            command = json.loads(line)
            self.request(command["command"], command["reason"])
        self.request("stop", "the process that started the run is gone")


def run_events(request: dict[str, Any], control: WorkerControl, ranks: Ranks | None = None) -> Iterator[RunEvent]:
    """Train the run of a request, a new one or one to be resumed, and yield its events."""
    # Importing torch takes seconds, in which a stop may already arrive.
    from ..runs.label import Label, StudyReference
    from ..runs.reported import parse_reported
    from ..session.session import SessionContext, resume, run
    from ..training.process_group import SINGLE

    if control.stopping.is_set():
        return
    every = float(request.get("sample_every", DETACHED_SAMPLE_SECONDS if request.get("detached") else SAMPLE_SECONDS))
    logs, context = (
        Path(request["logs"]),
        SessionContext(Path(request["data"]), sample_every=every, ranks=ranks or SINGLE),
    )
    run_id = request["run_id"]
    if request["resume"]:
        yield from resume(logs / run_id, control, context=context, take_over=request.get("take_over", False))
        return
    study = StudyReference(**request["study"]) if request["study"] else None
    tags, reported = tuple(request["tags"]), parse_reported(request["reported"])
    label = Label(request["preset"], request["name"], tags, reported, study)
    yield from run(parse_config(request["config"]), logs, control, context=context, label=label, run_id=run_id)


def config_of(request: dict[str, Any]) -> ExperimentConfig:
    """The settings of the run that a request describes.

    Raises:
        LogsError: the settings of a run to be resumed cannot be read.
        ConfigError: they are not valid.
    """
    if not request["resume"]:
        return parse_config(request["config"])
    from ..runs.index import read_header

    header = read_header(Path(request["logs"]) / request["run_id"])
    if "config" not in header:
        raise LogsError(f"run.json of run {request['run_id']} is missing or damaged", "start a new run")
    return parse_config(header["config"])


def _train_as_agent(config: ExperimentConfig, request: dict[str, Any], control: WorkerControl) -> RunEvent:
    """Train a run on several devices as their agent; returns its last event."""
    from .agent import RankLaunch, train_on_ranks

    folder = Path(request["logs"]) / request["run_id"]
    if request.get("take_over"):
        raise LogsError(f"run {folder.name} already trains in background processes", "leave it to them")
    if config.training.nodes > 1 and not request.get("rendezvous"):
        raise InputError(f"training.nodes={config.training.nodes} needs a rendezvous address", MEETING_HINT)
    if not request["resume"] and not folder.exists():
        try:
            write_request(folder, request)
        except OSError as error:
            raise LogsError(f"{folder} cannot be created ({disk_error_text(error)})", "choose another --logs") from None
    limits = float(request.get("timeout", RANK_TIMEOUT)), int(request.get("retries", 0))
    launch = RankLaunch(folder, Path(request["data"]), request.get("rendezvous", ""), *limits)
    return train_on_ranks(config, launch, control, lambda: move_console(request))


def _train_as_rank(request: dict[str, Any], control: WorkerControl, rank: int, world: int) -> RunEvent | None:
    """Train a run as one of the ranks that the agent started; returns the last event."""
    from ..session.run_header import failure_of
    from ..training.plan import device_of
    from ..training.process_group import Group, is_connection_loss
    from .agent import die_with_parent, report_failure

    agent, store = os.getppid(), request["store"]
    die_with_parent()
    last: RunEvent | None = None
    folder, failure = Path(request["logs"]) / request["run_id"], None
    try:
        config = config_of(request)
        if world != ranks_of(config):
            raise LogsError(f"{world} processes were started for a run of {ranks_of(config)}", "start that many")
        ranks = Group(rank, world, device_of(config, rank), float(request["timeout"]), store)
        for event in run_events(request, control, ranks):
            last = event
        failure = last.error if isinstance(last, RunFailed) else None
        if failure is None:
            ranks.shut_down()
    except Exception as error:  # noqa: BLE001 - the agent records any failure
        failure = failure_of(error)
        last = RunFailed(error=failure)
    if store and rank == 0 and os.getppid() != agent:
        # The agent was killed and could not delete the folder.
        shutil.rmtree(store.parent, ignore_errors=True)
    if failure:
        report_failure(
            folder, rank, failure, is_connection_loss(f"{failure.type} {failure.message} {failure.traceback}")
        )
    return last


def move_console(request: dict[str, Any]) -> None:
    """Move the hidden file with this process's output into the run folder once that exists."""
    if hidden := request.get("console"):
        folder = Path(request["logs"]) / request["run_id"]
        with suppress(OSError):
            os.rename(hidden, folder / CONSOLE)
            request["console"] = None


def _parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("torchdeck.core.processes.worker", description="Train a run without a screen.")
    parser.add_argument("folder", nargs="?", type=Path, help="the folder of the run")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TORCHDECK_DATA", "data")))
    parser.add_argument("--rendezvous", default="", help="HOST:PORT where the machines of the run meet")
    parser.add_argument("--store", type=Path, help="file where the ranks of one machine meet; made by the agent")
    parser.add_argument("--sample-every", type=float, default=DETACHED_SAMPLE_SECONDS, help="seconds between figures")
    parser.add_argument("--timeout", type=float, default=RANK_TIMEOUT, help="seconds until a silent rank is dead")
    parser.add_argument("--retries", type=int, default=0, help="how often to resume after a rank died")
    return parser.parse_args(arguments)


def _read_request(arguments: Sequence[str]) -> dict[str, Any]:
    """The request: from a run folder, or from stdin."""
    given = _parse_arguments(arguments)
    if given.folder is None:
        return json.loads(sys.stdin.buffer.readline())
    options = {name: getattr(given, name) for name in ("rendezvous", "store", "sample_every", "timeout", "retries")}
    return {**load_request(given.folder.absolute()), **options, "data": str(given.data), "detached": True, "job": True}


def _train(request: dict[str, Any], control: WorkerControl) -> RunEvent | None:
    """Train as the request asks: as a rank, as the agent of ranks, or alone; returns the last event."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if "TORCHELASTIC_RUN_ID" in os.environ and world > 1:
        return _train_as_rank(request, control, rank, world)
    if request.get("job") and (done := _completion(request)):
        return done
    config = config_of(request)
    if ranks_of(config) > 1:
        return _train_as_agent(config, request, control)
    last: RunEvent | None = None
    for event in run_events(request, control):
        last = event
        if isinstance(event, RunStarted):
            move_console(request)
    return last


def _completion(request: dict[str, Any]) -> RunCompleted | None:
    """The last event of a run that is complete already: there is nothing to do; None otherwise."""
    if not request["resume"]:
        return None
    folder = Path(request["logs"]) / request["run_id"]
    record = load_record(folder)
    if not isinstance(record.ending, RunCompleted) or record.ending.status != "completed":
        return None
    longer = record.started and config_of(request).training.epochs > record.started.epochs
    return None if longer else record.ending


def main(arguments: Sequence[str]) -> int:
    """Train to the end and return the exit code; a failure is also the last line of stdout, as a JSON object."""
    faulthandler.enable()
    collect_rarely()
    control, request = WorkerControl(), dict[str, Any]()
    parent = os.getppid()

    def on_signal(number: int, _: FrameType | None) -> None:
        control.request("stop", f"signal {signal.Signals(number).name}")

    # Schedulers announce the end of a job's time with one of the last two.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, on_signal)
    last: RunEvent | None = None
    try:
        request = _read_request(arguments)
        # The lock means that a worker lives: processes that this one starts must not inherit it.
        if "lock" in request:
            os.set_inheritable(request["lock"], False)
        if not request.get("detached"):
            threading.Thread(target=control.listen, args=(sys.stdin.buffer,), daemon=True).start()
        last = _train(request, control)
    except TorchdeckError as error:
        last = RunFailed(error=Failure("input", type(error).__name__, error.message, error.hint))
    if isinstance(last, RunFailed):
        sys.stdout.write(json.dumps(to_json(last)) + "\n")
    move_console(request)
    if request.get("console") and os.getppid() != parent:
        # The parent is gone, so that nobody would read it.
        Path(request["console"]).unlink(missing_ok=True)
    return _exit_code(last, control, job=bool(request.get("job")))


def _exit_code(last: RunEvent | None, control: WorkerControl, *, job: bool) -> int:
    """0 for a run that ended normally; a scheduler's job that is to be requeued has a code of its own."""
    if isinstance(last, RunFailed):
        return 2 if job and last.error.kind == "input" else 1
    # A signal may arrive before there is a run to stop.
    stopped = last is None or (isinstance(last, RunCompleted) and last.status == "stopped")
    return EXIT_STOPPED_BY_SCHEDULER if job and stopped and control.stopping.is_set() else 0


def train_and_exit(arguments: Sequence[str] = ()) -> NoReturn:
    """Run the worker and exit the process with its code."""
    code = 1
    try:
        code = main(arguments)
    except BaseException:  # noqa: BLE001 - printed as the interpreter would
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # A daemon thread that waits on stdin holds its lock, on which a regular exit of the interpreter would hang.
    os._exit(code)


if __name__ == "__main__":
    train_and_exit(sys.argv[1:])
