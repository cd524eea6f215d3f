"""Handle closed pipes: if nobody reads the output any more, end quietly with the exit code of SIGPIPE."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress

PIPE_CLOSED = 128 + signal.SIGPIPE


def discard_output() -> None:
    """Redirect output to /dev/null, so that the interpreter's final flush does not fail on the closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        with suppress(OSError):
            os.dup2(nowhere, descriptor)


@contextmanager
def exit_on_broken_pipe() -> Generator[None]:
    """Exit the command if printing inside fails because nobody reads the output any more."""
    try:
        yield
    except BrokenPipeError:
        discard_output()
        raise SystemExit(PIPE_CLOSED) from None
