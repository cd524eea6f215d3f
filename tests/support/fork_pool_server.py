"""`python fork_pool_server.py FD`: has imported all that commands need, and forks a process for each request.

torch takes seconds to import. A listening socket comes as a descriptor, for all the processes that run tests; each
message is one packet of JSON with descriptors where it needs some, each answer another. The server ends when nobody is
connected any more; what it forked lives on.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from fork_pool import LONGEST
from forked_program import be_a_program, fork_programs, leave_as_a_program, start_anew

import torchdeck

MOST_DESCRIPTORS = 16
LATER = ("matplotlib.figure", "plotext", "torch._dynamo")
"""What commands import only where they need it."""


def preload() -> None:
    """Import the whole package, and what it imports later."""
    for module in walk_packages(torchdeck.__path__, "torchdeck."):
        if not module.name.endswith("__main__"):
            # Those of an extra that is not installed.
            with suppress(ImportError):
                import_module(module.name)
    for name in LATER:
        import_module(name)


def _leave_signals_alone() -> None:
    import torchdeck.tui.app.start

    @contextmanager
    def nothing(_: object) -> Iterator[None]:
        yield

    torchdeck.tui.app.start.handle_signals = nothing  # type: ignore[assignment]


def _crash_at_help() -> None:
    from torchdeck.tui.app.app import Torchdeck

    def crash(_: Torchdeck) -> None:
        secret = "a value that is nobody's business"
        raise ValueError(f"{len(secret)} \x1b[31mreasons")

    Torchdeck.action_help = crash  # type: ignore[method-assign]


CHANGES: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "without signal handling": _leave_signals_alone,
    "crashes at ?": _crash_at_help,
    "programs are forked": fork_programs,
}


class Server:
    """Answers requests until nobody is there to ask."""

    def __init__(self, listener: socket.socket) -> None:
        self._sockets = [listener]
        self._codes: dict[int, int] = {}
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Until nobody is left."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        while True:
            for ready in select.select([self._woken, *self._sockets], [], [])[0]:
                if isinstance(ready, int):
                    os.read(ready, 4096)
                    self._take_codes()
                    continue
                if ready is self._sockets[0]:
                    self._sockets.append(ready.accept()[0])
                    continue
                message, descriptors, *_ = socket.recv_fds(ready, LONGEST, MOST_DESCRIPTORS)
                if message:
                    ready.send(json.dumps(self._answer(json.loads(message), descriptors)).encode())
                    continue
                self._sockets.remove(ready)
                ready.close()
                if len(self._sockets) == 1:
                    return

    def _take_codes(self) -> None:
        """Of all that ended, whoever will ask: a process that nobody waits for is to be gone, too."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])

    def _answer(self, request: dict[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
        if "hello" in request:
            return {}
        if "wait" in request:
            return {"code": self._codes.get(request["wait"])}
        child = os.fork()
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for opened in self._sockets:
                opened.close()
            os.close(self._woken)
            os.close(self._waker)
            leave_as_a_program(lambda: BECOME[request["kind"]](request, descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        # A number may come again.
        self._codes.pop(child, None)
        return {"pid": child}


def _be_a_task(request: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Call a function of a module of the tests, with what it prints going to a descriptor."""
    (output,) = descriptors
    os.dup2(output, 1)
    os.close(output)
    getattr(import_module(request["module"]), request["name"])(**request["arguments"])


def _be_a_command(request: dict[str, Any], _: Sequence[int]) -> None:
    """Live on the terminal of a request, in a session of one's own, and run its command as a person would."""
    os.setsid()
    terminal = os.open(request["terminal"], os.O_RDWR)
    for descriptor in range(3):
        os.dup2(terminal, descriptor)
    os.close(terminal)
    start_anew(request["environment"], request["ignored"])
    CHANGES[request["change"]]()
    sys.argv = ["torchdeck", *request["arguments"]]
    from torchdeck.tui.cli.main import main as command_line

    command_line()


BECOME = {"command": _be_a_command, "program": be_a_program, "task": _be_a_task}


def main() -> None:
    """Import, then serve."""
    preload()
    # What was loaded stays shared with the children.
    gc.freeze()
    Server(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
