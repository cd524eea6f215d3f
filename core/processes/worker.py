"""`python -P -m torchdeck.core.processes.worker [RUN_DIR]`: the entry of every process that trains without a screen.

Without a directory the first line of stdin is the request as JSON. Each further line is a command; the end of stdin
means that the asking process is gone, and stops the run with a checkpoint. A detached run has no such tie: it ends when
it is done, or is asked by its directory. With a directory it trains the run asked for there, or goes on with it: as a
job of a scheduler, or as a rank. A run on several devices makes this process the agent that starts its ranks.

`-P` keeps a folder named torchdeck, where one stands, from being run instead.
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
"""Seconds: a detached run is one that somebody may watch live."""

EXIT_STOPPED_BY_SCHEDULER = 75
MEETING_HINT = "start it by torchdeck sbatch, or on each machine with --rendezvous HOST:PORT as docs/scaling.md says"
RANK_TIMEOUT = 600.0
"""Seconds without an answer after which a rank is given up."""


class WorkerControl(Control):
    """Commands from stdin and from signals; `stopping` tells of a stop before there is a run that could take it."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()

    def request(self, command: CommandName, reason: str = "") -> None:
        if command == "stop":
            self.stopping.set()
        super().request(command, reason)

    def listen(self, lines: BinaryIO) -> None:
        """Pass on the commands that come in, and a stop when no more can come."""
        for line in lines:
            command = json.loads(line)
            self.request(command["command"], command["reason"])
        self.request("stop", "the process that asked for the run is gone")


def run_events(request: dict[str, Any], control: WorkerControl, ranks: Ranks | None = None) -> Iterator[RunEvent]:
    """The run that a request describes: a new one under its id, or one that goes on in its directory."""
    # torch takes seconds, in which a stop may already come in.
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
        LogsError: those of a run that is to go on cannot be read.
        ConfigError: they are no settings.
    """
    if not request["resume"]:
        return parse_config(request["config"])
    from ..runs.index import read_header

    header = read_header(Path(request["logs"]) / request["run_id"])
    if "config" not in header:
        raise LogsError(f"run.json of run {request['run_id']} is missing or damaged", "start a new run")
    return parse_config(header["config"])


def _train_as_agent(config: ExperimentConfig, request: dict[str, Any], control: WorkerControl) -> RunEvent:
    """Train a run on several devices; its last event."""
    from .agent import RankLaunch, train_on_ranks

    folder = Path(request["logs"]) / request["run_id"]
    if request.get("take_over"):
        raise LogsError(f"run {folder.name} is in processes of its own already", "close what shows it")
    if config.training.nodes > 1 and not request.get("rendezvous"):
        raise InputError(f"training.nodes={config.training.nodes} needs to know where the machines meet", MEETING_HINT)
    if not request["resume"] and not folder.exists():
        try:
            write_request(folder, request)
        except OSError as error:
            raise LogsError(f"{folder} cannot be made ({disk_error_text(error)})", "choose another --logs") from None
    limits = float(request.get("timeout", RANK_TIMEOUT)), int(request.get("retries", 0))
    launch = RankLaunch(folder, Path(request["data"]), request.get("rendezvous", ""), *limits)
    return train_on_ranks(config, launch, control, lambda: move_console(request))


def _train_as_rank(request: dict[str, Any], control: WorkerControl, rank: int, world: int) -> RunEvent | None:
    """Train a run together with the other ranks that the agent started; the last event."""
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
            raise LogsError(f"{world} processes were started for a run of {ranks_of(config)}", "start as many as that")
        ranks = Group(rank, world, device_of(config, rank), float(request["timeout"]), store)
        for event in run_events(request, control, ranks):
            last = event
        failure = last.error if isinstance(last, RunFailed) else None
        if failure is None:
            ranks.shut_down()
    except Exception as error:  # noqa: BLE001 - whatever it is, the agent tells of it
        failure = failure_of(error)
        last = RunFailed(error=failure)
    if store and rank == 0 and os.getppid() != agent:
        # An agent that was killed left the folder behind.
        shutil.rmtree(store.parent, ignore_errors=True)
    if failure:
        report_failure(
            folder, rank, failure, is_connection_loss(f"{failure.type} {failure.message} {failure.traceback}")
        )
    return last


def move_console(request: dict[str, Any]) -> None:
    """Put what this process prints, which began in a hidden file, into the run's directory once there is one."""
    if hidden := request.get("console"):
        folder = Path(request["logs"]) / request["run_id"]
        with suppress(OSError):
            os.rename(hidden, folder / CONSOLE)
            request["console"] = None


def _parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("torchdeck.core.processes.worker", description="Train a run without a screen.")
    parser.add_argument("folder", nargs="?", type=Path, help="the directory of the run")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TORCHDECK_DATA", "data")))
    parser.add_argument("--rendezvous", default="", help="HOST:PORT where the machines of the run meet")
    parser.add_argument("--store", type=Path, help="file where the ranks of one machine meet; the agent makes it")
    parser.add_argument("--sample-every", type=float, default=DETACHED_SAMPLE_SECONDS, help="seconds between figures")
    parser.add_argument("--timeout", type=float, default=RANK_TIMEOUT, help="seconds until a silent rank is given up")
    parser.add_argument("--retries", type=int, default=0, help="how often to go on after a rank died")
    return parser.parse_args(arguments)


def _read_request(arguments: Sequence[str]) -> dict[str, Any]:
    """The request: of a directory, or from stdin."""
    given = _parse_arguments(arguments)
    if given.folder is None:
        return json.loads(sys.stdin.buffer.readline())
    options = {name: getattr(given, name) for name in ("rendezvous", "store", "sample_every", "timeout", "retries")}
    return {**load_request(given.folder.absolute()), **options, "data": str(given.data), "detached": True, "job": True}


def _train(request: dict[str, Any], control: WorkerControl) -> RunEvent | None:
    """Train as the request asks, in whatever part this process has; the last event."""
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
    """The end of a run that is complete: whoever comes late to it has nothing to do."""
    ending = load_record(Path(request["logs"]) / request["run_id"]).ending if request["resume"] else None
    return ending if isinstance(ending, RunCompleted) and ending.status == "completed" else None


def main(arguments: Sequence[str]) -> int:
    """Train to the end; a failure is the last line of stdout, for one that left no run directory."""
    faulthandler.enable()
    collect_rarely()
    control, request = WorkerControl(), dict[str, Any]()
    parent = os.getppid()

    def on_signal(number: int, _: FrameType | None) -> None:
        control.request("stop", f"signal {signal.Signals(number).name}")

    # A scheduler announces the end of a job's time by one of the last two.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, on_signal)
    last: RunEvent | None = None
    try:
        request = _read_request(arguments)
        # The lock that tells of a living worker must not live on in what this process starts.
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
        # Nobody is left to read it.
        Path(request["console"]).unlink(missing_ok=True)
    return _exit_code(last, control, job=bool(request.get("job")))


def _exit_code(last: RunEvent | None, control: WorkerControl, *, job: bool) -> int:
    """0 for a run that ended as it should; a scheduler is told of one that waits to go on."""
    if isinstance(last, RunFailed):
        return 2 if job and last.error.kind == "input" else 1
    # A signal may come before there is a run that could stop.
    stopped = last is None or (isinstance(last, RunCompleted) and last.status == "stopped")
    return EXIT_STOPPED_BY_SCHEDULER if job and stopped and control.stopping.is_set() else 0


def train_and_exit(arguments: Sequence[str] = ()) -> NoReturn:
    """Be a worker to the end of this process."""
    code = 1
    try:
        code = main(arguments)
    except BaseException:  # noqa: BLE001 - as the interpreter's own end would tell it
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # A daemon thread that waits on stdin holds its lock, which the interpreter's own end would stumble over.
    os._exit(code)


if __name__ == "__main__":
    train_and_exit(sys.argv[1:])
