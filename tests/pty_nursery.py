"""A process that has imported all that the commands need, and forks a child for each request: torch takes seconds.

Each line on stdin is a request as JSON, each line on stdout its answer. A child leads a session of its own on a
terminal, runs the command line as a person would, and ends as any process does.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

NEEDED = ("tui.cli", "core.session", "core.data.synthetic", "core.models.lenet", "core.optim.optimizers")
SHOWN = ("tui.start", "tui.screens.setup", "tui.screens.live", "tui.progress", "tui.headless", "tui.tables", "plotext")


def _leave_signals_alone() -> None:
    import tui.start

    @contextmanager
    def nothing(_: object) -> Iterator[None]:
        yield

    tui.start.signals_taken = nothing  # type: ignore[assignment]


def _crash_at_help() -> None:
    from tui.app import Torchdeck

    def crash(_: Torchdeck) -> None:
        secret = "a value that is nobody's business"
        raise ValueError(f"{len(secret)} \x1b[31mreasons")

    Torchdeck.action_help = crash  # type: ignore[method-assign]


CHANGES: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "without departure": _leave_signals_alone,
    "crashes at ?": _crash_at_help,
}


def main() -> None:
    """Answer requests until stdin ends; a child falls through to its command."""
    for name in (*NEEDED, *SHOWN):
        import_module(name)
    # What was loaded stays shared with the children.
    gc.freeze()
    _answer(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            gone, status = os.waitpid(request["wait"], os.WNOHANG)
            _answer(code=os.waitstatus_to_exitcode(status) if gone else None)
            continue
        child = os.fork()
        if child == 0:
            _become(request)
            return
        _answer(pid=child)


def _answer(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _become(request: dict[str, Any]) -> None:
    """Live on the terminal of a request, and run its command."""
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
    from tui.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
