"""Start processes that train, one a run: a study's worker, that stops when it is left alone, or a detached one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from ..config import ExperimentConfig, to_plain
from ..control import CommandName
from ..devices.slots import Slot, slot_on
from ..errors import LogsError
from ..events import Failure, RunFailed, RunStarted, from_json
from ..runs.label import Label
from ..runs.layout import CONSOLE, new_run_id
from ..runs.reader import EventReader, tail_reader
from ..runs.request import DEFAULT_RANK_TIMEOUTS, RankTimeouts, write_request
from ..runs.writer import check_writable
from ..utils.files import disk_error_text, open_regular, open_to_append
from .fork_client import EXIT_CODE_UNKNOWN, ForkServer

TAIL_BYTES = 65_536


class Worker(Protocol):
    """What trains one run for a study, wherever it is; nothing here blocks or raises."""

    @property
    def place(self) -> str:
        """Where it trains, in words, as far as that is known: "cpu 1 on the-host"."""
        ...

    @property
    def ended(self) -> bool:
        """Whether it is gone, and its run free: by then the run's log has all that it said."""
        ...

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command; one that is gone, or has not begun yet, may not hear it."""
        ...

    def close(self) -> None:
        """Let go of it: if it still trains, it stops with a checkpoint by itself."""
        ...

    def exit_text(self) -> str:
        """How one that is gone ended, in words."""
        ...

    def failure(self) -> RunFailed | None:
        """The failure of one that left no run directory to tell it, if there was one."""
        ...


WorkerStarter = Callable[[Mapping[str, Any], Path, int, Slot], Worker]
"""Starts what trains the run of a request (see `torchdeck.core.processes.worker`) in a slot.

What it prints goes to the end of the console file given, and it keeps the lock given as long as it lives, where it can.
Raises OSError where it cannot be started.
"""


def place_of(slot: Slot) -> str:
    """A slot of this machine in words."""
    return slot_on(slot.name, os.uname().nodename)


def start_worker(
    request: Mapping[str, Any], console: Path, lock: int | None, slot: Slot, server: ForkServer | None = None
) -> WorkerProcess:
    """Start a process on this machine, be it forked from a server; see `Starter`."""
    console_start = file_size(console)
    with os.fdopen(open_to_append(console), "ab") as output:
        forked = server.fork(slot.environment, output.fileno(), lock) if server else None
        process = forked or _start_process(output, slot.environment, lock)
    worker = WorkerProcess(process, console, console_start, place_of(slot))
    # One that is forked got the lock with its other descriptors, under another number.
    worker.send_line(request if forked or lock is None else {**request, "lock": lock})
    return worker


def _start_process(output: IO[bytes], environment: Mapping[str, str], lock: int | None) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal reaches only the process that decides what to do about it.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "torchdeck.core.processes.worker"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env={**os.environ, **environment},
        pass_fds=[] if lock is None else [lock],
        start_new_session=True,
    )


def file_size(console: Path) -> int:
    """The bytes that a console file has; 0 without one."""
    return console.lstat().st_size if console.exists() else 0


class ProcessHandle(Protocol):
    """What is asked of a process that trains, however it was begun."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where it hears its request and commands."""
        ...

    @property
    def returncode(self) -> int | None:
        """Its exit code as `poll` last found it."""
        ...

    def poll(self) -> int | None:
        """Its exit code, negative where a signal killed it; None while it lives."""
        ...


class WorkerProcess:
    """A process that trains one run on this machine."""

    def __init__(self, process: ProcessHandle, console: Path, console_start: int, place: str = "") -> None:
        """A process just begun, whose first word is at byte `began_at` of the console."""
        self.console, self.place = console, place
        self._process, self._console_start = process, console_start

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command; a process that is gone cannot hear it."""
        self.send_line({"command": command, "reason": reason})

    def send_line(self, content: Mapping[str, Any]) -> None:
        """Send a line: first the request, then commands."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(json.dumps(content).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Let go of the process: one that still trains stops with a checkpoint by itself."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()

    def exit_text(self) -> str:
        """How the process ended, in words."""
        code = self._process.returncode
        if code == EXIT_CODE_UNKNOWN:
            return f"its process and the one that had forked it are gone; see {self.console}"
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}; see {self.console}"

    def failure(self) -> RunFailed | None:
        """The failure that the process told at its end, if it did."""
        return read_failure(self.console, self._console_start)


def read_failure(console: Path, since: int) -> RunFailed | None:
    """The failure that a process told at the end of what it printed, from a byte offset on."""
    with suppress(OSError), open(open_regular(console), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(since, size - TAIL_BYTES))
        lines = file.read().splitlines()
        return _parse_failure(lines[-1]) if lines else None
    return None


def _parse_failure(line: bytes) -> RunFailed | None:
    try:
        event = from_json(json.loads(line))
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return event if isinstance(event, RunFailed) else None


@dataclass(slots=True)
class DetachedRun:
    """A run in a process and session of its own, that goes on whatever becomes of the process that started it."""

    folder: Path
    process: subprocess.Popen[bytes]
    worker: WorkerProcess
    _reader: EventReader
    _new_logs: bool
    _failed: RunFailed | None = None

    def start_result(self) -> RunStarted | RunFailed | None:
        """How the process began to train, or why it could not; None while it still prepares."""
        ended = self.worker.ended
        for event in self._reader.read():
            if isinstance(event, RunStarted):
                return event
            if isinstance(event, RunFailed):
                self._failed = event
        if not ended:
            return None
        failure = self._failed or self.worker.failure() or _exit_failure(self.worker)
        self._clean_up()
        return failure

    def cancel(self) -> None:
        """Stop it before, or after, it began to train, and wait for its end."""
        self.process.terminate()
        self.process.wait()
        self._clean_up()

    def _clean_up(self) -> None:
        """Remove what a process that got no run directory printed, and the logs folder if it was made for that."""
        if self.worker.console.parent == self.folder.parent:
            self.worker.console.unlink(missing_ok=True)
            if self._new_logs:
                with suppress(OSError):
                    self.folder.parent.rmdir()


def _exit_failure(worker: WorkerProcess) -> RunFailed:
    return RunFailed(error=Failure("crash", "WorkerDied", f"the run could not begin: {worker.exit_text()}"))


def start_detached(
    config: ExperimentConfig,
    label: Label,
    logs: Path,
    data: Path,
    now: float,
    *,
    run_id: str = "",
    rank_timeouts: RankTimeouts = DEFAULT_RANK_TIMEOUTS,
) -> DetachedRun:
    """Start a new run in a process of its own; until it has a directory, what it prints is kept in a hidden file.

    Raises:
        LogsError: the logs folder cannot be written, or no process can be started.
    """
    check_writable(logs)
    run_id = run_id or new_run_id(label.preset, now)
    console = logs / f".{run_id}.log"
    about = {"resume": False, "console": str(console.absolute()), **asdict(rank_timeouts)}
    return _start_detached(logs / run_id, {**_new_request(config, label), **about}, data, console)


def _new_request(config: ExperimentConfig, label: Label) -> dict[str, Any]:
    """What a request says of a new run."""
    about = {"preset": label.preset, "name": label.name, "tags": list(label.tags), "study": None}
    return {**about, "reported": [asdict(figure) for figure in label.reported], "config": to_plain(config)}


def request_run(config: ExperimentConfig, label: Label, logs: Path, now: float) -> Path:
    """Make the directory of a run that processes started otherwise are to train: see `torchdeck.core.runs.request`.

    Raises:
        LogsError: the logs folder cannot be written.
    """
    check_writable(logs)
    folder = logs / new_run_id(label.preset, now)
    try:
        write_request(folder, _new_request(config, label))
    except OSError as error:
        raise LogsError(f"{folder} cannot be made ({disk_error_text(error)})", "choose another --logs") from None
    return folder


def resume_detached(
    folder: Path, data: Path, *, take_over: bool = False, rank_timeouts: RankTimeouts = DEFAULT_RANK_TIMEOUTS
) -> DetachedRun:
    """Go on with a run in a process of its own; to take over is to let it train where it is until that one is ready.

    Raises:
        LogsError: the run's directory cannot be written, or no process can be started.
    """
    request = {"resume": True, "take_over": take_over, **asdict(rank_timeouts)}
    return _start_detached(folder, request, data, folder / CONSOLE)


def _start_detached(folder: Path, request: Mapping[str, Any], data: Path, console: Path) -> DetachedRun:
    place = {"logs": str(folder.parent.absolute()), "data": str(data.absolute()), "run_id": folder.name}
    new_logs = not folder.parent.exists()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        reader = tail_reader(folder)
        console_start = file_size(console)
        with os.fdopen(open_to_append(console), "ab") as output:
            process = _start_process(output, {}, None)
    except OSError as error:
        hint = "free memory and disk, or run it here without --detach"
        raise LogsError(f"no process can be started for the run ({error.strerror or error})", hint) from None
    worker = WorkerProcess(process, console, console_start)
    worker.send_line({**request, **place, "detached": True})
    # It waits for no more.
    worker.close()
    return DetachedRun(folder, process, worker, reader, new_logs)
