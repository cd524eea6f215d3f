"""The Ray task of a run: starts the worker process on the task's node and waits for its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..devices.slots import Slot
from ..events import RunCompleted
from ..processes.launch import start_worker
from ..runs.layout import is_run
from ..runs.reader import load_record

POLL_SECONDS = 0.2
RELEASE_TIMEOUT = 120.0
"""Seconds in which a previous process of the run, for instance on a node that only Ray lost, must release it."""


def train(request: Mapping[str, Any], console: str, wait: Callable[[float], object] = time.sleep) -> str:
    """Train the run of a request to its end; returns how its process ended. Ray may call it again on another node.

    The process stops with a checkpoint when this one is gone.
    """
    folder, end = Path(request["logs"]) / request["run_id"], time.monotonic() + RELEASE_TIMEOUT
    while True:
        ending = load_record(folder).ending if is_run(folder) else None
        if isinstance(ending, RunCompleted) and ending.status == "completed":
            return "its run was complete already"
        process = start_worker({**request, "resume": is_run(folder)}, Path(console), None, Slot("ray"))
        try:
            while not process.ended:
                wait(POLL_SECONDS)
        finally:
            # When the task is cancelled, the process stops with a checkpoint; the run is active until then.
            process.close()
            while not process.ended:
                wait(POLL_SECONDS)
        failure = process.failure()
        if failure is None or failure.error.kind != "busy" or time.monotonic() > end:
            return process.exit_text()
        wait(1.0)
