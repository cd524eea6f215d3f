"""The agent of a run on several devices: starts the ranks with torch's elastic launcher, forwards commands to them, and
records a failure that none of them could record.

Every launch has its own launcher and its own store: a launcher that restarts ranks itself would find its own old keys.
On one machine the store is a file rather than a TCP port, which is open to other accounts: torch unpickles its content.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..config import ExperimentConfig
from ..control import CommandName, Control
from ..devices.device_spec import devices_of
from ..errors import BusyError, InputError, LogsError, TorchdeckError
from ..events import Failure, RunCompleted, RunEvent, RunFailed, WarningRaised, failure_from_json, failure_json
from ..runs.commands import send_command
from ..runs.layout import AGENT_LOCK, is_run
from ..runs.reader import load_record
from ..runs.writer import reopen
from ..session.recorder import Recorder
from ..session.run_header import failure_of
from ..utils.cpus import usable_cpus
from ..utils.files import (
    disk_error_text,
    is_folder,
    make_folders,
    read_json,
    remove_tree,
    to_json_bytes,
    write_atomically,
)
from ..utils.held_folder import HeldFolder
from ..utils.locks import is_held, lock_owner, take_lock

RANKS = "ranks"
"""Subfolder of the run folder: what the ranks print, and their failure reports."""

GRACE_SECONDS = 5.0
"""Seconds from the failure of a rank until those that have not exited are killed."""

REPEAT_STOP_SECONDS = 5.0
"""Seconds until a stop that had no effect is sent again."""


@dataclass(frozen=True, slots=True)
class RankLaunch:
    """How the ranks of a run are started: run folder, data folder, where they meet, timeout and retries."""

    folder: Path
    data: Path
    rendezvous: str = ""
    """HOST:PORT where several machines meet; one machine alone opens no port."""
    timeout: float = 600.0
    """Seconds without an answer after which a rank counts as dead."""
    retries: int = 0
    """How often the run is resumed from its last checkpoint after a rank died."""


def train_on_ranks(
    config: ExperimentConfig, launch: RankLaunch, control: Control, on_started: Callable[[], None]
) -> RunEvent:
    """Train a run on its ranks to the end; returns its last event, which is in the log if there is one.

    `on_started` is called once the run has its folder.
    """
    try:
        lock = take_lock(launch.folder / AGENT_LOCK)
    except BlockingIOError:
        if config.training.nodes == 1:
            owner = lock_owner(launch.folder / AGENT_LOCK)
            return RunFailed(error=failure_of(BusyError(f"run {launch.folder.name} is active in {owner}")))
        lock = None
    except OSError as error:
        message = f"run {launch.folder.name} cannot be written ({disk_error_text(error)})"
        return RunFailed(error=failure_of(LogsError(message, "fix the permissions of its folder")))
    location = _RunLocation(launch.folder, lock)
    try:
        with _relaying_commands(location, control, on_started):
            return _train_with_retries(config, launch, location, writes_log=lock is not None)
    finally:
        location.close()


class _RunLocation:
    """The run folder and the agent's lock in it; follows a folder that is renamed, or removed and created again."""

    def __init__(self, folder: Path, lock: int | None) -> None:
        self.folder = folder
        self._lock = lock
        self._held = HeldFolder(folder)

    def update(self) -> None:
        """Find the folder where it is now; one that was removed is created again by the run's leader."""
        with suppress(OSError):
            if not self._held.find():
                self._held = HeldFolder(self.folder)
            self.folder = self._held.path
            if self._lock is not None and is_run(self.folder) and not os.path.lexists(self.folder / AGENT_LOCK):
                old, self._lock = self._lock, take_lock(self.folder / AGENT_LOCK)
                os.close(old)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)


def _train_with_retries(
    config: ExperimentConfig, launch: RankLaunch, location: _RunLocation, *, writes_log: bool
) -> RunEvent:
    for retries_left in range(launch.retries, -1, -1):
        before = load_record(location.folder).attempt
        if writes_log:
            _delete_failure_reports(location.folder)
        died, refused = dict[int, Any](), None
        try:
            died = _launch(config, replace(launch, folder=location.folder))
        except InputError as error:
            refused = failure_of(error)
        location.update()
        folder = location.folder
        record = load_record(folder)
        started = record.attempt > before
        if started and isinstance(record.ending, RunCompleted):
            return record.ending
        failure, lost = (refused, False) if refused else _cause(folder, died)
        if not started:
            if is_folder(folder) and not is_run(folder):
                remove_tree(folder)
            return RunFailed(error=failure)
        if not (writes_log and lost and retries_left):
            return _write_ending(folder, RunFailed(error=failure)) if writes_log else RunFailed(error=failure)
        again = RunCompleted(status="handed_over", reason=f"{failure.message}; resumed from the last checkpoint",
                             epoch=0, step=record.step, train_seconds=record.train_seconds)  # fmt: skip
        _write_ending(folder, again)
    raise AssertionError("the last launch returns")


def _launch(config: ExperimentConfig, launch: RankLaunch) -> dict[int, Any]:
    """Start the ranks and wait until they have exited; returns the failed ones by rank.

    Raises:
        InputError: the temporary folder for their store cannot be made, or they cannot meet there.
    """
    if config.training.nodes > 1:
        return _run_launcher(config, launch, rdzv_endpoint=launch.rendezvous, store=None)
    try:
        # Private to this account (0700) and new: ranks that are started again must not find the old keys.
        temporary = tempfile.TemporaryDirectory(prefix="torchdeck-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"cannot create a temporary folder ({disk_error_text(error)})", "free space, or set TMPDIR"
        ) from None
    with temporary as folder, _locked(folder):
        agents, ranks = Path(folder, "agents"), Path(folder, "ranks")
        # A file store only grows, and nothing depends on the heartbeats of the only agent.
        settings = {"store_type": "file", "keep_alive_interval": 86_400}
        return _run_launcher(config, launch, rdzv_endpoint=str(agents), rdzv_configs=settings, store=ranks)


@contextmanager
def _locked(folder: str) -> Generator[None]:
    """Hold a lock on a folder, so that systemd-tmpfiles does not clear it as an old temporary file."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def _run_launcher(
    config: ExperimentConfig, launch: RankLaunch, store: Path | None, **rendezvous: Any
) -> dict[int, Any]:
    """See `_launch`; `store` is the file where the ranks of one machine meet, None for several machines."""
    training, devices = config.training, devices_of(config.training.device)
    threads = training.threads if isinstance(training.threads, int) else max(1, usable_cpus() // len(devices))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    if store and sys.platform == "linux":
        os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")
    make_folders(launch.folder / RANKS)
    launch_config = LaunchConfig(
        min_nodes=training.nodes,
        max_nodes=training.nodes,
        nproc_per_node=len(devices),
        run_id=launch.folder.name,
        rdzv_backend="c10d",
        local_addr="127.0.0.1" if store else None,
        max_restarts=0,
        # Signals are passed on as commands instead, so that all ranks stop at the same step.
        signals_to_handle="SIGQUIT",
        logs_specs=DefaultLogsSpecs(log_dir=str(launch.folder / RANKS), redirects=Std.ALL),
        **rendezvous,
    )
    arguments = ["-P", "-m", "torchdeck.core.processes.worker", str(launch.folder), "--data", str(launch.data)]
    arguments += ["--timeout", str(launch.timeout), *(["--store", str(store)] if store else [])]
    try:
        elastic_launch(launch_config, sys.executable)(*arguments)
    except ChildFailedError as error:
        return dict(error.failures)
    except RendezvousError as error:
        hint = "free space there, or set TMPDIR" if store else "name one of the machines, and start all of them"
        message = f"the processes of the run cannot meet at {launch_config.rdzv_endpoint} ({error.__cause__ or error})"
        raise InputError(message, hint) from None
    return {}


def report_failure(folder: Path, rank: int, failure: Failure, lost: bool) -> None:
    """Write the failure report of a rank; `lost`: it failed only because another rank did not answer."""
    with suppress(OSError):
        make_folders(folder / RANKS)
        content = {"t": time.time(), "lost": lost, "failure": failure_json(failure)}
        write_atomically(folder / RANKS / f"failure-{rank}.json", to_json_bytes(content))


def _cause(folder: Path, died: dict[int, Any]) -> tuple[Failure, bool]:
    """The first cause of a failed launch, and whether a rank was lost, so that a retry may succeed."""
    reports = [(rank, word) for rank, word in _failure_reports(folder)]
    resume = f"resume from the last checkpoint with: torchdeck resume {folder.name}"
    for rank, word in sorted(reports, key=lambda item: item[1]["t"]):
        if not word["lost"]:
            failure = failure_from_json(word["failure"])
            # Wrong settings are no fault of one rank.
            whose = "" if failure.kind == "input" else f"rank {rank}: "
            return Failure(failure.kind, failure.type, whose + failure.message, failure.hint,
                           failure.traceback), False  # fmt: skip
    silent = any(re.search("timed out|timeout", word["failure"]["message"], re.IGNORECASE) for _, word in reports)
    for rank, process in sorted(died.items(), key=lambda item: item[1].timestamp):
        # The launcher ends ranks that wait for a lost one with TERM, and one that does not respond with KILL.
        if process.exitcode < 0 and rank not in dict(reports) and process.exitcode != -signal.SIGTERM:
            name = signal.Signals(-process.exitcode).name
            how = "did not answer and was killed" if silent else f"was killed by {name}"
            return Failure("crash", "RankDied", f"rank {rank} (process {process.pid}) {how}", resume), True
    if reports:
        rank, word = reports[0]
        message = f"rank {rank} got no answer from the others ({word['failure']['message'].splitlines()[0]})"
        return Failure("crash", "RankLost", message, resume, word["failure"]["traceback"]), True
    # Of a run that never started the folder goes, and with it the output.
    hint = f"see their output in {folder / RANKS}" if is_run(folder) else "start it again"
    return Failure("crash", "RankDied", f"{_first_end(died)} without an error message", hint), True


def _first_end(died: dict[int, Any]) -> str:
    """How the first rank to end did so, as text."""
    if not died:
        return "the processes of the run ended"
    rank, process = min(died.items(), key=lambda item: item[1].timestamp)
    code = process.exitcode
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"rank {rank} (process {process.pid}) {how}"


def _delete_failure_reports(folder: Path) -> None:
    for path in (folder / RANKS).glob("failure-*.json"):
        path.unlink(missing_ok=True)


def _failure_reports(folder: Path) -> Generator[tuple[int, dict[str, Any]]]:
    for path in sorted((folder / RANKS).glob("failure-*.json")):
        content = read_json(path)
        with suppress(TypeError, KeyError, ValueError):
            failure_from_json(content["failure"])
            yield int(path.stem.removeprefix("failure-")), {"t": float(content["t"]), **content}


def _write_ending(folder: Path, ending: RunCompleted | RunFailed) -> RunEvent:
    """Write the last event of an attempt whose own writer is gone."""
    recorder = Recorder(time.time, time.sleep)
    try:
        recorder.record = load_record(folder)
        recorder.attempt, recorder.record.ending = recorder.record.attempt, None
        recorder.attach(reopen(folder))
        if isinstance(ending, RunCompleted):
            recorder(WarningRaised(message=ending.reason))
        return recorder(ending)
    except TorchdeckError as error:
        return RunFailed(error=failure_of(error))
    finally:
        recorder.close()


@contextmanager
def _relaying_commands(location: _RunLocation, control: Control, on_started: Callable[[], None]) -> Generator[None]:
    """Forward commands from the agent to the ranks while they train."""
    over = threading.Event()
    relay = threading.Thread(target=_relay, args=(location, control, on_started, over), name="relay", daemon=True)
    relay.start()
    try:
        yield
    finally:
        over.set()
        relay.join()


def _relay(location: _RunLocation, control: Control, on_started: Callable[[], None], over: threading.Event) -> None:
    started, failed_at, waiting = False, None, list[tuple[CommandName, str]]()
    while not over.is_set():
        location.update()
        folder = location.folder
        if not started and is_run(folder):
            started = True
            on_started()
        while command := control.take():
            waiting.append(command)
        if waiting and _forward(folder, *waiting[0]):
            # A stop may arrive just before the ranks start to listen: it is repeated until they are gone.
            if waiting[0][0] == "stop":
                over.wait(REPEAT_STOP_SECONDS)
            else:
                waiting.pop(0)
        if not any((folder / RANKS).glob("failure-*.json")):
            failed_at = None
        elif failed_at is None:
            failed_at = time.monotonic()
        elif time.monotonic() - failed_at > GRACE_SECONDS:
            _signal_ranks(signal.SIGKILL)
        control.wait(0.1)


def _signal_ranks(number: signal.Signals) -> bool:
    """Send a signal to the ranks of this machine; returns whether there are any."""
    ranks = psutil.Process().children()
    for rank in ranks:
        with suppress(psutil.Error):
            rank.send_signal(number)
    return bool(ranks)


def _forward(folder: Path, name: CommandName, reason: str) -> bool:
    """Forward a command to the ranks; returns whether it arrived. Ranks that do not train yet are only terminated."""
    if is_held(folder / "run.lock"):
        with suppress(TorchdeckError):
            send_command(folder, name, reason)
            return True
    return name == "stop" and _signal_ranks(signal.SIGTERM)


def die_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent, the agent, dies (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
