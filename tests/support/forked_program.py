"""What a process that is forked does to be a program that was started: its streams, signals, arguments and its end."""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from runpy import run_module
from typing import Any, NoReturn

from fork_pool import PLACE, ForkPool
from forked_popen import forked_popen

FOLDER = os.environ.get(PLACE, "")


def fork_programs() -> None:
    """Have this process fork what it would start, as the tests do."""
    subprocess.Popen = forked_popen(cache(lambda: ForkPool(Path(FOLDER))))  # type: ignore[misc]


def leave_as_a_program(be: Callable[[], None]) -> NoReturn:
    """Be something, and end as the interpreter does, but without taking apart all that was loaded: half a second."""
    code: Any = 0
    try:
        be()
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException:  # noqa: BLE001 - as the interpreter tells it
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def be_a_program(request: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Run a module as `python -m` would, as a process of its own that forks what it starts."""
    _take_descriptors(request["kept"], descriptors)
    if request["new_session"]:
        os.setsid()
    os.chdir(request["folder"])
    start_anew(request["environment"])
    fork_programs()
    sys.argv = [request["module"], *request["arguments"]]
    # It was loaded already, as one that is started is not.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    run_module(request["module"], run_name="__main__", alter_sys=True)


def _take_descriptors(numbers: Sequence[int], descriptors: Sequence[int]) -> None:
    """Give descriptors that came in the numbers that they are to have; the first three are the streams."""
    free = max(*numbers, *descriptors) + 1
    away = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, free) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for number, descriptor in zip([0, 1, 2, *numbers[3:]], away, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def start_anew(environment: Mapping[str, str], ignored: Collection[str] = ()) -> None:
    """Have the streams, environment and signals of a process that has just begun."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        how: dict[str, Any] = {"errors": "backslashreplace", "buffering": 1} if name == "stderr" else {}
        stream = open(number, "r" if name == "stdin" else "w", closefd=False, encoding="utf-8", **how)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        # What starts the tests in the background may have them ignore signals.
        usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(getattr(signal, name), signal.SIG_IGN if name in ignored else usual)
