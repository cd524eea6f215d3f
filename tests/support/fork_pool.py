"""Commands and workers forked from one process that has imported what they need; torch takes seconds."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from repository import ROOT

LONGEST = 65_536
PLACE = "TEST_FORK_POOL"
HIDDEN = ("TORCHDECK_", "TEXTUAL", "TMUX", "COLUMNS", "LINES", "NO_COLOR", "SSH_CONNECTION")
PLAIN = {"LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}


class ForkPool:
    """A connection to the process that forks, which the first to ask starts: all that run tests share it."""

    def __init__(self, folder: Path) -> None:
        """The pool of a folder, whose path has to be short; its `data` has the data sets decoded."""
        folder.mkdir(exist_ok=True)
        self.folder, self.data = folder, folder / "data"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(HIDDEN)}
        self._environment = {**environment, **PLAIN, PLACE: str(folder)}
        self._server: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        with open(folder / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._socket = self._connected() or self._begun()

    def _connected(self) -> socket.socket | None:
        """A connection to the server, if there is one; the last one to leave it has it end."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with suppress(OSError):
            made.connect(str(self.folder / "socket"))
            made.send(b'{"hello": 1}')
            if made.recv(LONGEST):
                return made
        made.close()
        return None

    def _begun(self) -> socket.socket:
        path = self.folder / "socket"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen(64)
            self._server = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent / "fork_pool_server.py"), str(listener.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env=self._environment,
                pass_fds=[listener.fileno()],
            )
            made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            made.connect(str(path))
            return made

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """The server's answer to a request, to which descriptors may belong."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            return json.loads(self._socket.recv(LONGEST))

    def command(self, terminal: str, arguments: Sequence[str], environment: Mapping[str, str], **how: Any) -> int:
        """The process id of a command on a terminal, forked now."""
        asked = {"kind": "command", "terminal": terminal, "arguments": list(arguments), **how}
        return self.ask({**asked, "environment": {**self._environment, **environment}})["pid"]

    def task(self, output: int, module: str, name: str, arguments: Mapping[str, Any]) -> int:
        """The process id of a call of a function in a module of the tests, which prints to `output`, forked now."""
        asked = {"kind": "task", "module": module, "name": name, "arguments": dict(arguments)}
        return self.ask(asked, [output])["pid"]

    def code(self, pid: int) -> int | None:
        """The exit code of a process that was forked; None while it lives."""
        return self.ask({"wait": pid})["code"]

    def close(self) -> None:
        """Leave; whoever began the server waits until all others have left, too."""
        self._socket.close()
        if self._server:
            self._server.wait()
