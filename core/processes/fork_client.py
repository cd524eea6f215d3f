"""The server that has torch loaded and forks a study's workers from there, as the study's process holds it."""

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
"""In the place of an exit code that nobody could tell; no process has it."""

MAX_ANSWER_BYTES = 4096
MODULE = "torchdeck.core.processes.fork_server"


class ForkServer:
    """Starts the server when the first worker is wanted; what it forks outlives it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count()
        self._codes: dict[int, int] = {}

    def fork(self, environment: Mapping[str, str], console: int, lock: int | None) -> ForkedProcess | None:
        """A worker that prints to `console` and keeps `lock`, with these changes to its environment.

        None where there is no server (any more), so that a worker has to be started.
        """
        if sys.platform != "linux":
            # Elsewhere what a process has loaded may not survive a fork.
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
        """Whether the server is gone; what it had told until then is heard."""
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
        """The exit code of a worker, negative where a signal killed it; None while none was told."""
        return self._codes.get(number)

    def close(self) -> None:
        """End the server; its workers live on."""
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._process:
            self._process.kill()
            self._process.wait()


class ForkedProcess:
    """A worker that the server forked, asked of like one that was started."""

    def __init__(self, number: int, stdin: BinaryIO, server: ForkServer) -> None:
        self.stdin: BinaryIO | None = stdin
        self.returncode: int | None = None
        self._number, self._server = number, server

    def poll(self) -> int | None:
        """Its exit code once it is gone."""
        if self.returncode is None:
            gone = self._server.is_gone
            self.returncode = self._server.exit_code(self._number)
            if self.returncode is None and gone and self._stdin_is_closed():
                self.returncode = EXIT_CODE_UNKNOWN
        return self.returncode

    def _stdin_is_closed(self) -> bool:
        """Whether the other end of its stdin is closed, which it is when the process is gone."""
        if self.stdin is None or self.stdin.closed:
            return True
        poll = select.poll()
        poll.register(self.stdin, 0)
        return bool(poll.poll(0))
