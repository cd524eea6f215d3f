"""The Ray driver of a study, `python -P -m torchdeck.core.clusters.ray_driver ADDRESS GPUS CPUS`: its Ray tasks.

Ray prints on stdout and stderr as it likes, and ends the process where it loses the cluster; neither may reach the
study's. Orders come in on stdin, a line of JSON each; the end of stdin ends the process, and with it all tasks.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..utils.extras import extra_module
from ..utils.files import open_to_append
from .ray_task import train

RETRIES = 10
"""How often Ray retries a task whose node or process is lost; its run is resumed, so that little is lost."""

LOG = "ray.log"
"""The file with what Ray prints, beside the console files of the runs."""

SETTINGS = {
    # Under `uv run` Ray would copy the working folder to all nodes, and have each start through uv.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Ray reports to its makers unless told otherwise.
    "RAY_USAGE_STATS_ENABLED": "0",
}

POLL_SECONDS = 0.5
STOP_TIMEOUT = 60.0
"""Seconds for the runs to stop with a checkpoint when the study's process is gone."""


class Driver:
    """The Ray tasks of a study, one for each run."""

    def __init__(self, ray: Any, share: Mapping[str, float], output: int) -> None:
        """`share` are the resource options of a task; finished tasks are reported to the descriptor `output`."""
        self._ray, self._output = ray, output
        self._train, self._options = ray.remote(train), {"max_retries": RETRIES, **share}
        self._tasks: dict[Any, str] = {}

    def handle(self, order: Mapping[str, Any]) -> None:
        """Start the task of a run, or cancel it, as an order says."""
        if "cancel" in order:
            for task in [task for task, run_id in self._tasks.items() if run_id == order["cancel"]]:
                self._ray.cancel(task)
            return
        console = Path(order["console"])
        _redirect_output(open_to_append(console.with_name(LOG)))
        run_id = order["request"]["run_id"]
        task = self._train.options(name=run_id, **self._options).remote(order["request"], str(console))
        self._tasks[task] = run_id

    def report_finished(self) -> None:
        """Report the tasks that have finished."""
        ready, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
        for task in ready:
            send_line(self._output, {"run_id": self._tasks.pop(task), "how": self._ended(task)})

    def stop_all(self) -> None:
        """Stop all runs with a checkpoint; Ray kills the remaining tasks when its driver exits."""
        for task in self._tasks:
            self._ray.cancel(task)
        self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=STOP_TIMEOUT)
        self._ray.shutdown()

    def _ended(self, task: Any) -> str:
        try:
            return str(self._ray.get(task))
        except Exception as error:  # noqa: BLE001 - the state of the run is in its folder anyway
            return f"its Ray task was lost: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def send_line(descriptor: int, content: Mapping[str, Any]) -> None:
    """Send a line of JSON to the study's process."""
    os.write(descriptor, json.dumps(content).encode() + b"\n")


def _redirect_output(file: int) -> None:
    """Redirect stdout and stderr to a file."""
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _read_orders(lines: BinaryIO) -> queue.Queue[dict[str, Any] | None]:
    """Read orders in a thread; None marks the end of the input."""
    waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in lines:
            waiting.put(json.loads(line))
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    return waiting


def main(address: str, gpus: str, cpus: str) -> None:
    """Connect to Ray, report success or failure, and handle orders until stdin is closed."""
    output = os.dup(1)
    _redirect_output(os.open(os.devnull, os.O_WRONLY))
    # Ctrl-C is the study's to decide about.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    ray = extra_module("ray", "ray", "--on ray")
    try:
        ray.init(address=address, log_to_driver=False)
    except Exception as error:  # noqa: BLE001 - it is reported
        return send_line(output, {"refused": _first_line(error)})
    send_line(output, {"connected": True})
    orders, driver = _read_orders(sys.stdin.buffer), Driver(ray, {"num_gpus": int(gpus), "num_cpus": int(cpus)}, output)
    while True:
        driver.report_finished()
        try:
            order = orders.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if order is None:
            return driver.stop_all()
        driver.handle(order)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # A daemon thread that waits on stdin holds its lock, which the interpreter's own end would stumble over.
    os._exit(0)
