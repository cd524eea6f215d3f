"""Run a study on Ray: each run is a Ray task, which Ray schedules, and reschedules where its node is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..control import CommandName
from ..devices.slots import Slot
from ..errors import InputError
from ..events import RunFailed
from ..processes.launch import file_size, read_failure
from ..runs.layout import is_locked
from ..utils.extras import check_extra
from ..utils.files import read_json
from . import RunResources, with_absolute_paths
from .remote_run import RemoteRun

CONNECTION_LOST = "the connection to Ray was lost"


class Ray:
    """A Ray cluster, through `ray_driver`; `start` is its `core.processes.launch.WorkerStarter`."""

    def __init__(self, address: str, share: RunResources) -> None:
        """Connect to a cluster, which takes seconds.

        Raises:
            InputError: Ray is not installed, or no cluster answers at the address.
        """
        check_extra("ray", "ray", "--on ray")
        command = [
            sys.executable,
            "-P",
            "-m",
            "torchdeck.core.clusters.ray_driver",
            address,
            str(share.gpus),
            str(share.cpus),
        ]
        self._driver = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ray has its workers import from here first: a folder named torchdeck must not be among what they find.
            cwd="/",
            start_new_session=True,
        )
        self.finished: dict[str, str] = {}
        """How the tasks that have finished ended, by run id."""
        self._await_connection(address)
        threading.Thread(target=self._listen, name="ray", daemon=True).start()

    def _await_connection(self, address: str) -> None:
        assert self._driver.stdout
        answer = self._driver.stdout.readline()
        reply = json.loads(answer) if answer else {"refused": f"it ended with exit code {self._driver.wait()}"}
        if "refused" in reply:
            hint = "start one with: ray start --head, and name it with --address HOST:PORT"
            raise InputError(f"no Ray cluster answers at {address} ({reply['refused']})", hint)

    def _listen(self) -> None:
        assert self._driver.stdout
        for line in self._driver.stdout:
            report = json.loads(line)
            self.finished[report["run_id"]] = report["how"]

    @property
    def is_lost(self) -> bool:
        """Whether the connection to Ray is lost."""
        return self._driver.poll() is not None

    def send(self, content: Mapping[str, Any]) -> None:
        """Send an order to start or cancel a task; it is ignored where the connection is lost."""
        assert self._driver.stdin
        with suppress(OSError):
            self._driver.stdin.write(json.dumps(content).encode() + b"\n")
            self._driver.stdin.flush()

    def start(self, request: Mapping[str, Any], console: Path, _lock: int, _slot: Slot) -> RayRun:
        """Submit a run to Ray.

        Raises:
            InputError: the connection is lost.
        """
        if self.is_lost:
            raise InputError(CONNECTION_LOST, "check that the cluster is up, then continue the study")
        return RayRun(self, with_absolute_paths(request), console.absolute())


class RayRun:
    """A run as a Ray task; a `torchdeck.core.processes.launch.Worker`."""

    def __init__(self, ray: Ray, request: Mapping[str, Any], console: Path) -> None:
        self._ray, self._console, self._run_id = ray, console, str(request["run_id"])
        self._console_start = file_size(console)
        self._run = RemoteRun(Path(request["logs"]) / self._run_id)
        self._host = ""
        ray.finished.pop(self._run_id, None)
        ray.send({"request": request, "console": str(console)})

    @property
    def place(self) -> str:
        """The machine that trains it, or did, as text."""
        if self._run.is_training or self._run_id in self._ray.finished:
            owner = read_json(self._run.folder / "run.lock")
            self._host = str(owner.get("host")) if isinstance(owner, dict) else ""
        return f"{self._host}, by Ray" if self._host else "queued in Ray"

    @property
    def ended(self) -> bool:
        """Whether its task has finished; where the connection is lost, whether the run is no longer active."""
        self._run.poll()
        return self._run_id in self._ray.finished or (self._ray.is_lost and is_locked(self._run.folder) is not True)

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command to the run; a stop before it trains cancels its task."""
        self._run.send(command, reason)
        if command == "stop" and not self._run.is_training:
            self._ray.send({"cancel": self._run_id})

    def close(self) -> None:
        """Stop it with a checkpoint."""
        if not self.ended:
            self.send("stop", "the process that started the run is gone")

    def exit_text(self) -> str:
        """How its process ended, or what Ray reported, as text."""
        return self._ray.finished.get(self._run_id, CONNECTION_LOST)

    def failure(self) -> RunFailed | None:
        """The failure that its process printed at its end; None without one."""
        return read_failure(self._console, self._console_start)
