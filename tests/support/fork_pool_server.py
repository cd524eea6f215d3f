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
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from fork_pool import LONGEST, ForkPool

NEEDED = (
    "torchdeck.tui.cli.main",
    "torchdeck.core.session.session",
    "torchdeck.core.processes.worker",
    "torchdeck.core.data.synthetic",
    "torchdeck.core.models.lenet",
    "torchdeck.core.optim.optimizers",
)
SHOWN = (
    "torchdeck.tui.app.start",
    "torchdeck.tui.setup.page",
    "torchdeck.tui.live.page",
    "torchdeck.tui.cli.run_progress",
    "torchdeck.tui.cli.headless",
    "torchdeck.tui.format.tables",
    "plotext",
)


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


def _fork_workers() -> None:
    import torchdeck.core.processes.launch

    torchdeck.core.processes.launch._start_process = ForkPool.of_environment().worker  # type: ignore[assignment]


CHANGES: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "without signal handling": _leave_signals_alone,
    "crashes at ?": _crash_at_help,
    "workers are forked": _fork_workers,
}


class Server:
    """Answers requests until nobody is there to ask."""

    def __init__(self, listener: socket.socket) -> None:
        self._sockets = [listener]

    def serve(self) -> Callable[[], object]:
        """What a forked process is to do; nothing in the server itself, when it has ended."""
        while True:
            for ready in select.select(self._sockets, [], [])[0]:
                if ready is self._sockets[0]:
                    self._sockets.append(ready.accept()[0])
                    continue
                message, descriptors, *_ = socket.recv_fds(ready, LONGEST, 2)
                if message:
                    answer = self._answer(json.loads(message), descriptors)
                    if callable(answer):
                        return answer
                    ready.send(json.dumps(answer).encode())
                    continue
                self._sockets.remove(ready)
                ready.close()
                if len(self._sockets) == 1:
                    return lambda: None

    def _answer(self, request: dict[str, Any], descriptors: Sequence[int]) -> dict[str, Any] | Callable[[], object]:
        if "hello" in request:
            return {}
        if "wait" in request:
            gone, status = os.waitpid(request["wait"], os.WNOHANG)
            return {"code": os.waitstatus_to_exitcode(status) if gone else None}
        child = os.fork()
        if child == 0:
            for opened in self._sockets:
                opened.close()
            return lambda: BECOME[request["kind"]](request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return {"pid": child}


def _be_a_worker(request: dict[str, Any], descriptors: Sequence[int]) -> None:
    from torchdeck.core.processes.fork_server import become_worker

    become_worker(request["environment"], *descriptors)


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
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = open(number, mode, closefd=False, encoding="utf-8", buffering=1)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        # What starts the tests in the background may have them ignore signals.
        signal.signal(getattr(signal, name), signal.SIG_IGN if name in request["ignored"] else signal.SIG_DFL)
    CHANGES[request["change"]]()
    sys.argv = ["torchdeck", *request["arguments"]]
    from torchdeck.tui.cli.main import main as command_line

    command_line()


BECOME = {"command": _be_a_command, "worker": _be_a_worker, "task": _be_a_task}


def main() -> None:
    """Import, then serve; a child leaves the loop for what it is to be, and ends as any process does."""
    for name in (*NEEDED, *SHOWN):
        import_module(name)
    # What was loaded stays shared with the children.
    gc.freeze()
    Server(socket.socket(fileno=int(sys.argv[1]))).serve()()


if __name__ == "__main__":
    main()
