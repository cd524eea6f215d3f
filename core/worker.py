"""`python -P -m core.worker`: trains one run without a screen, as the process that started it asks on stdin.

The first line is the request as JSON. Each further line is a command; the end of stdin means that the asking process
is gone, and stops the run with a checkpoint. A detached run has no such tie: it ends when it is done, or is asked by
its directory. `-P` keeps a folder named core, where one stands, from being run instead.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, NoReturn

from core.control import CommandName, Control
from core.errors import TorchdeckError
from core.events import Failure, RunEvent, RunFailed, RunStarted, to_json
from core.logs import CONSOLE

SAMPLE_EVERY = 1.0
DETACHED_SAMPLE_EVERY = 0.2
"""Seconds: a detached run is one that somebody may watch live."""


class Orders(Control):
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


def events_of(request: dict[str, Any], control: Orders) -> Iterator[RunEvent]:
    """The run that a request describes: a new one under its id, or one that goes on in its directory."""
    # torch takes seconds, in which a stop may already come in.
    from core.config import parse_config
    from core.label import Label, StudyReference
    from core.reported import parse_reported
    from core.session import Surroundings, resume, run

    if control.stopping.is_set():
        return
    every = DETACHED_SAMPLE_EVERY if request.get("detached") else SAMPLE_EVERY
    logs, around = Path(request["logs"]), Surroundings(Path(request["data"]), sample_every=every)
    run_id = request["run_id"]
    if request["resume"]:
        yield from resume(logs / run_id, control, surroundings=around, take_over=request.get("take_over", False))
        return
    study = StudyReference(**request["study"]) if request["study"] else None
    tags, reported = tuple(request["tags"]), parse_reported(request["reported"])
    label = Label(request["preset"], request["name"], tags, reported, study)
    yield from run(parse_config(request["config"]), logs, control, surroundings=around, label=label, run_id=run_id)


def keep_console(request: dict[str, Any]) -> None:
    """Put what this process prints, which began in a hidden file, into the run's directory once there is one."""
    folder = Path(request["logs"]) / request["run_id"]
    if hidden := request.get("console"):
        with suppress(OSError):
            os.rename(hidden, folder / CONSOLE)
            request["console"] = None


def main() -> int:
    """Train to the end; a failure is the last line of stdout, for one that left no run directory."""
    faulthandler.enable()
    request, control = json.loads(sys.stdin.buffer.readline()), Orders()
    asked_by = os.getppid()
    # The lock that tells of a living worker must not live on in what this process starts.
    if "lock" in request:
        os.set_inheritable(request["lock"], False)

    def on_signal(number: int, _: FrameType | None) -> None:
        control.request("stop", f"signal {signal.Signals(number).name}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    if not request.get("detached"):
        threading.Thread(target=control.listen, args=(sys.stdin.buffer,), daemon=True).start()
    last: RunEvent | None = None
    try:
        for event in events_of(request, control):
            last = event
            if isinstance(event, RunStarted):
                keep_console(request)
    except TorchdeckError as error:
        last = RunFailed(error=Failure("input", type(error).__name__, error.message, error.mend))
    if isinstance(last, RunFailed):
        sys.stdout.write(json.dumps(to_json(last)) + "\n")
    keep_console(request)
    if request.get("console") and os.getppid() != asked_by:
        # Nobody is left to read it.
        Path(request["console"]).unlink(missing_ok=True)
    return 1 if isinstance(last, RunFailed) else 0


def train_and_leave() -> NoReturn:
    """Be a worker to the end of this process."""
    code = 1
    try:
        code = main()
    except BaseException:  # noqa: BLE001 - as the interpreter's own end would tell it
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # A daemon thread that waits on stdin holds its lock, which the interpreter's own end would stumble over.
    os._exit(code)


if __name__ == "__main__":
    train_and_leave()
