"""Ray for a study: each run is a core task, which Ray places, and places anew where its node is lost."""

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
from . import Share, from_anywhere
from .remote_run import Watched

LOST = "the connection to Ray was lost"


class Ray:
    """A Ray cluster, through `ray_driver`; `start` is its `core.processes.launch.Starter`."""

    def __init__(self, address: str, share: Share) -> None:
        """Connect, which takes seconds.

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
        self.over: dict[str, str] = {}
        """How the task of each run ended whose task is over."""
        self._await_connection(address)
        threading.Thread(target=self._listen, name="ray", daemon=True).start()

    def _await_connection(self, address: str) -> None:
        assert self._driver.stdout
        answer = self._driver.stdout.readline()
        told = json.loads(answer) if answer else {"refused": f"it ended with exit code {self._driver.wait()}"}
        if "refused" in told:
            hint = "start one with: ray start --head, and name it with --address HOST:PORT"
            raise InputError(f"no Ray cluster answers at {address} ({told['refused']})", hint)

    def _listen(self) -> None:
        assert self._driver.stdout
        for line in self._driver.stdout:
            told = json.loads(line)
            self.over[told["run_id"]] = told["how"]

    @property
    def lost(self) -> bool:
        """Whether no task can be heard of any more."""
        return self._driver.poll() is not None

    def order(self, content: Mapping[str, Any]) -> None:
        """Have a task started or cancelled; a lost driver cannot hear it."""
        assert self._driver.stdin
        with suppress(OSError):
            self._driver.stdin.write(json.dumps(content).encode() + b"\n")
            self._driver.stdin.flush()

    def start(self, request: Mapping[str, Any], console: Path, _lock: int, _slot: Slot) -> RayRun:
        """Hand a run to Ray.

        Raises:
            InputError: the connection is lost.
        """
        if self.lost:
            raise InputError(LOST, "see whether the cluster is up, and go on with the study")
        return RayRun(self, from_anywhere(request), console.absolute())


class RayRun:
    """A run as a Ray task; a `torchdeck.core.processes.launch.Worker`."""

    def __init__(self, ray: Ray, request: Mapping[str, Any], console: Path) -> None:
        self._ray, self._console, self._run_id = ray, console, str(request["run_id"])
        self._printed = file_size(console)
        self._watched = Watched(Path(request["logs"]) / self._run_id)
        self._host = ""
        ray.over.pop(self._run_id, None)
        ray.order({"request": request, "console": str(console)})

    @property
    def place(self) -> str:
        """The machine that trains it, or did, once one does."""
        if self._watched.training or self._run_id in self._ray.over:
            owner = read_json(self._watched.folder / "run.lock")
            self._host = str(owner.get("host")) if isinstance(owner, dict) else ""
        return f"{self._host}, by Ray" if self._host else "waits for its turn in Ray"

    @property
    def ended(self) -> bool:
        """Whether its task is over; where the connection is lost, whether nobody trains it any more."""
        self._watched.look()
        return self._run_id in self._ray.over or (self._ray.lost and is_locked(self._watched.folder) is not True)

    def send(self, command: CommandName, reason: str) -> None:
        """Send a command to wherever the run trains; one that is to stop before it trains loses its task."""
        self._watched.send(command, reason)
        if command == "stop" and not self._watched.training:
            self._ray.order({"cancel": self._run_id})

    def close(self) -> None:
        """Have it stop with a checkpoint."""
        if not self.ended:
            self.send("stop", "the process that asked for the run is gone")

    def exit_text(self) -> str:
        """How its process ended, or what Ray says."""
        return self._ray.over.get(self._run_id, LOST)

    def failure(self) -> RunFailed | None:
        """What its process told at its end."""
        return read_failure(self._console, self._printed)
