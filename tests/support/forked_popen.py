"""`subprocess.Popen` that forks `python -m torchdeck...` from the pool instead of starting it, which takes seconds.

The module runs as `__main__` in the process that is forked, with the arguments, environment, folder, streams and
descriptors that it was to be started with; only who its parent is differs. All other commands are started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fork_pool import ForkPool
from polling import until

Popen = subprocess.Popen
PASS_FDS, FOLDER, ENVIRONMENT, ENDS, NEW_SESSION = 3, 4, 5, slice(9, 15), 20
"""Places of what `Popen.__init__` hands over to `_execute_child` after the command, from Python 3.11 on."""


def module_of(command: Any) -> str | None:
    """The module of this package that a command runs."""
    if not isinstance(command, list | tuple) or command[0] != sys.executable or "-m" not in command:
        return None
    module = command[command.index("-m") + 1]
    return module if module.startswith("torchdeck.") else None


def forked_popen(pool: Callable[[], ForkPool]) -> type[subprocess.Popen[Any]]:
    """The class to put in the place of `subprocess.Popen`; the pool is asked for when it is first needed."""

    class ForkedPopen(Popen):  # type: ignore[type-arg]
        _forked = False

        def _execute_child(self, command: Sequence[str], *how: Any) -> None:
            environment = dict(os.environ if how[ENVIRONMENT] is None else how[ENVIRONMENT])
            module = module_of(command)
            if module is None:
                super()._execute_child(command, *how)
                return
            stdin, _, _, stdout, _, stderr = how[ENDS]
            streams = [own if end == -1 else end for own, end in enumerate((stdin, stdout, stderr))]
            kept = [*streams, *how[PASS_FDS]]
            request = {
                "kind": "program",
                "module": module,
                "arguments": list(command[command.index(module) + 1 :]),
                "environment": environment,
                "folder": os.fspath(how[FOLDER] or os.getcwd()),
                "new_session": how[NEW_SESSION],
                "kept": kept,
            }
            self.pid = pool().ask(request, kept)["pid"]
            self._child_created = self._forked = True
            self._close_pipe_fds(*how[ENDS])

        def _internal_poll(self, *place: Any, **how: Any) -> int | None:
            if not self._forked:
                return super()._internal_poll(*place, **how)
            if self.returncode is None:
                self.returncode = pool().code(self.pid)
            return self.returncode

        def _try_wait(self, flags: int) -> tuple[int, int]:
            if not self._forked:
                return super()._try_wait(flags)
            if not flags:
                until(lambda: self._internal_poll() is not None, seconds=600)
            return (0 if self._internal_poll() is None else self.pid), 0

        def _handle_exitstatus(self, *told: Any, **how: Any) -> None:
            if not self._forked:
                super()._handle_exitstatus(*told, **how)

    return ForkedPopen
