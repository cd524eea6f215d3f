"""Client of the fork server: starts it, asks it to fork workers, and learns their exit codes."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from typing import BinaryIO

EXIT_CODE_UNKNOWN = 256
"""Stands for an exit code that is not known; no process exits with it."""

MAX_ANSWER_BYTES = 4096
MODULE = "torchdeck.core.processes.fork_server"


class ForkServer:
    """Starts the fork server with the first worker; forked workers outlive it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()
        self._codes: dict[int, int] = {}

    def fork(self, environment: Mapping[str, str], console: int, lock: int | None) -> ForkedProcess | None:
        """Fork a worker that prints to `console` and inherits `lock`, with these changes to its environment.

        None where there is no server (any more): then a worker must be started as a new process.
        """
        if sys.platform != "linux":
            # On other systems the libraries that a process has loaded may not survive a fork.
            return None
        if self._process is None:
            self._start()
        if self.is_gone or self._socket is None:
            return None
        number = next(self._numbers)
        request = json.dumps({"number": number, "environment": dict(environment)}).encode()
        stdin, writable = os.pipe()
        try:
            socket.send_fds(self._socket, [request], [stdin, console] if lock is None else [stdin, console, lock])
        except OSError:
            os.close(writable)
            return None
        finally:
            os.close(stdin)
        return ForkedProcess(number, os.fdopen(writable, "wb"), self)

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket.setblocking(False)

    @property
    def is_gone(self) -> bool:
        """Whether the server is gone; reads the exit codes that it has reported so far."""
        while self._socket:
            try:
                answer = self._socket.recv(MAX_ANSWER_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                answer = b""
            if answer:
                report = json.loads(answer)
                self._codes[report["number"]] = report["code"]
            else:
                self.close()
        return True

    def exit_code(self, number: int) -> int | None:
        """The exit code of a worker, negative where a signal killed it; None while it is not known."""
        return self._codes.get(number)

    def close(self) -> None:
        """End the server; its workers keep running."""
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._process:
            self._process.kill()
            self._process.wait()


class ForkedProcess:
    """A forked worker, with the interface of a `subprocess.Popen`."""

    def __init__(self, number: int, stdin: BinaryIO, server: ForkServer) -> None:
        self.stdin: BinaryIO | None = stdin
        self.returncode: int | None = None
        self._number, self._server = number, server

    def poll(self) -> int | None:
        """Its exit code once it has exited; None before."""
        if self.returncode is None:
            gone = self._server.is_gone
            self.returncode = self._server.exit_code(self._number)
            if self.returncode is None and gone and self._stdin_is_closed():
                self.returncode = EXIT_CODE_UNKNOWN
        return self.returncode

    def _stdin_is_closed(self) -> bool:
        """Whether the other end of its stdin is closed, which means that the process is gone."""
        if self.stdin is None or self.stdin.closed:
            return True
        poll = select.poll()
        poll.register(self.stdin, 0)
        return bool(poll.poll(0))
