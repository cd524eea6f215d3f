"""Start worker processes, one per run: a study's worker, which stops when its parent dies, or a detached one."""

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
    """Whatever trains one run for a study, here or on a cluster; no method blocks or raises."""

    @property
    def place(self) -> str:
        """Where it trains, as text and as far as known: "cpu 1 on the-host"."""
        ...

    @property
    def ended(self) -> bool:
        """Whether it has exited and released its run; the run's log is complete by then."""
        ...

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command; a worker that has exited or not started yet may never receive it."""
        ...

    def close(self) -> None:
        """Detach from it: a worker that still trains stops with a checkpoint."""
        ...

    def exit_text(self) -> str:
        """How it ended, as text."""
        ...

    def failure(self) -> RunFailed | None:
        """The failure of a worker that could not record it in a run folder; None without one."""
        ...


WorkerStarter = Callable[[Mapping[str, Any], Path, int, Slot], Worker]
"""Starts a worker from a request (see `torchdeck.core.processes.worker`), a console file, a lock and a slot.

The worker appends what it prints to the console file and, where possible, holds the lock as long as it lives.
Raises OSError where it cannot be started.
"""


def place_of(slot: Slot) -> str:
    """A slot of this machine as text: "cuda 0 on the-host"."""
    return slot_on(slot.name, os.uname().nodename)


def start_worker(
    request: Mapping[str, Any], console: Path, lock: int | None, slot: Slot, server: ForkServer | None = None
) -> WorkerProcess:
    """Start a process on this machine, forked from `server` where that is possible; see `WorkerStarter`."""
    console_start = file_size(console)
    with os.fdopen(open_to_append(console), "ab") as output:
        forked = server.fork(slot.environment, output.fileno(), lock) if server else None
        process = forked or _start_process(output, slot.environment, lock)
    worker = WorkerProcess(process, console, console_start, place_of(slot))
    # A forked worker received the lock with its other descriptors, under another number.
    worker.send_line(request if forked or lock is None else {**request, "lock": lock})
    return worker


def _start_process(output: IO[bytes], environment: Mapping[str, str], lock: int | None) -> subprocess.Popen[bytes]:
    # A session of its own, so that Ctrl-C in the terminal reaches only the process that decides what to do about it.
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
    """The size of a file in bytes; 0 where it does not exist."""
    return console.lstat().st_size if console.exists() else 0


class ProcessHandle(Protocol):
    """The interface of a process that trains, whether started or forked."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where it receives its request and commands."""
        ...

    @property
    def returncode(self) -> int | None:
        """Its exit code as `poll` last found it."""
        ...

    def poll(self) -> int | None:
        """Its exit code, negative where a signal killed it; None while it runs."""
        ...


class WorkerProcess:
    """A worker process on this machine."""

    def __init__(self, process: ProcessHandle, console: Path, console_start: int, place: str = "") -> None:
        """A process just started, whose output begins at byte `console_start` of the console file."""
        self.console, self.place = console, place
        self._process, self._console_start = process, console_start

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command; it is lost where the process has exited."""
        self.send_line({"command": command, "reason": reason})

    def send_line(self, content: Mapping[str, Any]) -> None:
        """Send a line of JSON: first the request, then commands."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(json.dumps(content).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def ended(self) -> bool:
        """Whether the process has exited."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Close its stdin: a process that still trains stops with a checkpoint."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()

    def exit_text(self) -> str:
        """How the process ended, as text."""
        code = self._process.returncode
        if code == EXIT_CODE_UNKNOWN:
            return f"its process and the fork server are gone{self._output()}"
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}{self._output()}"

    def _output(self) -> str:
        """Where to read what it printed; of a hidden file, which is deleted, its last line."""
        if not self.console.name.startswith("."):
            return f"; see {self.console}"
        lines = _last_lines(self.console, self._console_start)
        return f" ({lines[-1].decode(errors='replace')})" if lines else ""

    def failure(self) -> RunFailed | None:
        """The failure that the process printed at its end; None without one."""
        return read_failure(self.console, self._console_start)


def read_failure(console: Path, since: int) -> RunFailed | None:
    """The failure in the last line that a process printed after byte `since`; None without one."""
    lines = _last_lines(console, since)
    return _parse_failure(lines[-1]) if lines else None


def _last_lines(console: Path, since: int) -> list[bytes]:
    """The last lines that a process printed after byte `since`; none where the file cannot be read."""
    with suppress(OSError), open(open_regular(console), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(since, size - TAIL_BYTES))
        return file.read().splitlines()
    return []


def _parse_failure(line: bytes) -> RunFailed | None:
    try:
        event = from_json(json.loads(line))
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return event if isinstance(event, RunFailed) else None


@dataclass(slots=True)
class DetachedRun:
    """A run in its own process and session, which outlives the process that started it."""

    folder: Path
    process: subprocess.Popen[bytes]
    worker: WorkerProcess
    _reader: EventReader
    _new_logs: bool
    _failed: RunFailed | None = None

    def start_result(self) -> RunStarted | RunFailed | None:
        """The event with which training started, or why it could not; None while the run is being prepared."""
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
        """Terminate the process, whether it trains already or not, and wait until it has exited."""
        self.process.terminate()
        self.process.wait()
        self._clean_up()

    def _clean_up(self) -> None:
        """Delete the output of a process that got no run folder, and the logs folder if it was made for this run."""
        if self.worker.console.parent == self.folder.parent:
            self.worker.console.unlink(missing_ok=True)
            if self._new_logs:
                with suppress(OSError):
                    self.folder.parent.rmdir()


def _exit_failure(worker: WorkerProcess) -> RunFailed:
    return RunFailed(error=Failure("crash", "WorkerDied", f"the run could not be started: {worker.exit_text()}"))


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
    """Start a new run in a background process; what it prints before it has its folder goes to a hidden file.

    Raises:
        LogsError: the logs folder cannot be written, or the process cannot be started.
    """
    check_writable(logs)
    run_id = run_id or new_run_id(label.preset, now)
    console = logs / f".{run_id}.log"
    about = {"resume": False, "console": str(console.absolute()), **asdict(rank_timeouts)}
    return _start_detached(logs / run_id, {**_new_request(config, label), **about}, data, console)


def _new_request(config: ExperimentConfig, label: Label) -> dict[str, Any]:
    """The part of a request that describes a new run."""
    about = {"preset": label.preset, "name": label.name, "tags": list(label.tags), "study": None}
    return {**about, "reported": [asdict(figure) for figure in label.reported], "config": to_plain(config)}


def request_run(config: ExperimentConfig, label: Label, logs: Path, now: float) -> Path:
    """Create the folder of a run that other processes are to train, with its request in it; returns the folder.

    Raises:
        LogsError: the logs folder cannot be written.
    """
    check_writable(logs)
    folder = logs / new_run_id(label.preset, now)
    try:
        write_request(folder, _new_request(config, label))
    except OSError as error:
        raise LogsError(f"{folder} cannot be created ({disk_error_text(error)})", "choose another --logs") from None
    return folder


def resume_detached(
    folder: Path, data: Path, *, take_over: bool = False, rank_timeouts: RankTimeouts = DEFAULT_RANK_TIMEOUTS
) -> DetachedRun:
    """Resume a run in a background process; with `take_over` it trains on where it is until the new process is ready.

    Raises:
        LogsError: the run folder cannot be written, or the process cannot be started.
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
        hint = "free memory or disk space, or run in the foreground without --detach"
        raise LogsError(f"cannot start a process for the run ({error.strerror or error})", hint) from None
    worker = WorkerProcess(process, console, console_start)
    worker.send_line({**request, **place, "detached": True})
    # A detached run takes no further commands from stdin.
    worker.close()
    return DetachedRun(folder, process, worker, reader, new_logs)
