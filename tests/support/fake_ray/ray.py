"""A stand-in for Ray: a task is a thread of the driver. It prints a lot, as Ray does, which nobody is to see."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

PLACES = 2


def _say(text: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"\033[33m(raylet)\033[0m {text}\n")
        stream.flush()


def init(address: str, *, log_to_driver: bool) -> None:
    _say(f"connecting to {address}, {log_to_driver}")
    if address == "nowhere:1":
        raise ConnectionError("ray.init() could not reach it\nand much more")


class _Task:
    places = threading.Semaphore(PLACES)

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work, self.result, self.error, self.cancelled = work, None, None, False
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self.places:
            try:
                self.result = None if self.cancelled else self.work()
            except BaseException as error:  # noqa: BLE001
                self.error = error
        _say("a task is over")
        self.over.set()


class _Remote:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def options(self, **_: Any) -> _Remote:
        return self

    def remote(self, *arguments: Any) -> _Task:
        return _Task(lambda: self.function(*arguments))


remote = _Remote


def wait(tasks: Sequence[_Task], *, num_returns: int, timeout: float) -> tuple[list[_Task], list[_Task]]:
    end = time.monotonic() + timeout
    for task in tasks:
        task.over.wait(max(0, end - time.monotonic()))
    ready = [task for task in tasks if task.over.is_set()][:num_returns]
    return ready, [task for task in tasks if task not in ready]


def get(task: _Task) -> Any:
    if task.error:
        raise task.error
    return task.result


def cancel(task: _Task) -> None:
    task.cancelled = True
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(task.thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
    )


def shutdown() -> None:
    _say("goodbye")
