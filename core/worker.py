"""`python -P -m core.worker`: trains one run without a screen, as the process that started it asks on stdin.

The first line is the request as JSON. Each further line is a command; the end of stdin means that the asking process
is gone, and stops the run with a checkpoint. `-P` keeps a folder named core, where one stands, from being run instead.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from core.control import CommandName, Control
from core.errors import TorchdeckError
from core.events import Failure, RunEvent, RunFailed, to_json

SAMPLE_EVERY = 1.0


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
    logs, around = Path(request["logs"]), Surroundings(Path(request["data"]), sample_every=SAMPLE_EVERY)
    run_id = request["run_id"]
    if request["resume"]:
        yield from resume(logs / run_id, control, surroundings=around)
        return
    study = StudyReference(request["study"]["id"], request["study"]["number"])
    tags, reported = tuple(request["tags"]), parse_reported(request["reported"])
    label = Label(request["preset"], request["name"], tags, reported, study)
    yield from run(parse_config(request["config"]), logs, control, surroundings=around, label=label, run_id=run_id)


def main() -> int:
    """Train to the end; a failure is the last line of stdout, for one that left no run directory."""
    faulthandler.enable()
    request, control = json.loads(sys.stdin.buffer.readline()), Orders()
    # The lock that tells of a living worker must not live on in what this process starts.
    os.set_inheritable(request["lock"], False)

    def on_signal(number: int, _: FrameType | None) -> None:
        control.request("stop", f"signal {signal.Signals(number).name}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    threading.Thread(target=control.listen, args=(sys.stdin.buffer,), daemon=True).start()
    last: RunEvent | None = None
    try:
        for event in events_of(request, control):
            last = event
    except TorchdeckError as error:
        last = RunFailed(error=Failure("input", type(error).__name__, error.message, error.mend))
    if isinstance(last, RunFailed):
        sys.stdout.write(json.dumps(to_json(last)) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    # A daemon thread that waits on stdin holds its lock, which the interpreter's own end would stumble over.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
