"""The fork server, `python -P -m torchdeck.core.processes.fork_server FD`: imports torch once and forks workers.

A forked worker behaves like a started one: it has its own session, stdin, console and environment. The server itself
never computes, starts a thread or opens a GPU. Every message on the socket is one packet: a request carries the
descriptors of the worker, the answer its exit code once it has exited. The server ends when the socket is closed; its
workers keep running as long as somebody holds their stdin.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from ..utils.gc_tuning import collect_rarely

MAX_REQUEST_BYTES = 65_536
MAX_DESCRIPTORS = 3
"""What comes with a request: stdin, the console, and perhaps a lock to keep."""


def preload() -> None:
    """Import everything that runs need."""
    from ..data import DATASETS
    from ..models import MODELS
    from ..optim import OPTIMIZERS, SCHEDULES

    importlib.import_module("torchdeck.core.session.session")
    for table in (DATASETS, MODELS, OPTIMIZERS, SCHEDULES):
        for name in table.names():
            table.builder(name)


class Server:
    """Forks workers and reports their exit codes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._numbers: dict[int, int] = {}

    def serve(self) -> None:
        """Serve requests until the other end of the socket is closed."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._connection, self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._report_exits()
            if self._connection in ready:
                packet = socket.recv_fds(self._connection, MAX_REQUEST_BYTES, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
                message, descriptors = packet[:2]
                if not message:
                    return
                self._fork(json.loads(message), descriptors)

    def _fork(self, request: dict[str, Any], descriptors: Sequence[int]) -> None:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            # If the worker kept these open, the other end could not see that the server is gone.
            for descriptor in (self._connection.detach(), self._wake_read, self._wake_write):
                os.close(descriptor)
            become_worker(request["environment"], *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._numbers[pid] = request["number"]

    def _report_exits(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if (number := self._numbers.pop(ended[0], None)) is not None:
                    self._send(number, os.waitstatus_to_exitcode(ended[1]))

    def _send(self, number: int, code: int) -> None:
        with suppress(OSError):
            self._connection.send(json.dumps({"number": number, "code": code}).encode())


def become_worker(environment: Mapping[str, str], stdin: int, console: int, *lock: int) -> NoReturn:
    """Become the worker in a process just forked; executes a new one where a fork of this process cannot use a GPU."""
    from .worker import train_and_exit

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.environ.update(environment)
    for descriptor, place in ((stdin, 0), (console, 1), (console, 2)):
        os.dup2(descriptor, place)
    os.close(stdin)
    os.close(console)
    if has_gpu_open():
        for kept in lock:
            os.set_inheritable(kept, True)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "torchdeck.core.processes.worker"])
    train_and_exit()


def has_gpu_open() -> bool:
    """Whether this process, or the one it was forked from, has a GPU driver open."""
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{entry}").startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri")):
                return True
    return False


if __name__ == "__main__":
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    collect_rarely()
    preload()
    # Collections would touch what was loaded, and so unshare its memory with the workers.
    gc.freeze()
    Server(connection).serve()
