"""Output that nobody reads: the process ends quietly, with the exit code of a closed pipe."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress

PIPE_CLOSED = 128 + signal.SIGPIPE


def forget_output() -> None:
    """Keep the interpreter from failing once more on a closed pipe when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        with suppress(OSError):
            os.dup2(nowhere, descriptor)


@contextmanager
def readers_may_leave() -> Generator[None]:
    """Print inside; where nobody reads any more, the command is over."""
    try:
        yield
    except BrokenPipeError:
        forget_output()
        raise SystemExit(PIPE_CLOSED) from None
