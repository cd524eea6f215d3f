"""Start processes that train: one worker a run, that ends with a checkpoint when it is told to or left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.control import CommandName
from core.events import RunFailed, from_json

TAIL = 65_536


class Worker:
    """A process that trains one run."""

    def __init__(
        self, request: Mapping[str, Any], console: Path, lock: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it; what it prints goes to the end of `console`, and it keeps `lock` for as long as it lives."""
        self.console = console
        self._began_at = console.stat().st_size if console.exists() else 0
        with open(console, "ab") as output:
            # A session of its own: Ctrl-C in the terminal reaches only the process that decides what to do about it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "core.worker"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                pass_fds=[lock],
                start_new_session=True,
            )
        self._say({**request, "lock": lock})

    def ask(self, command: CommandName, reason: str) -> None:
        """Send a command; a process that is gone cannot hear it."""
        self._say({"command": command, "reason": reason})

    def _say(self, content: Mapping[str, Any]) -> None:
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(json.dumps(content).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Let go of the process: one that still trains stops with a checkpoint by itself."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()

    def death(self) -> str:
        """How the process ended, in words."""
        code = self._process.returncode
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with exit code {code}; see {self.console}"

    def failure(self) -> RunFailed | None:
        """The failure that the process told at its end, if it did."""
        with suppress(OSError), open(self.console, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._began_at, size - TAIL))
            lines = file.read().splitlines()
            return _as_failure(lines[-1]) if lines else None
        return None


def _as_failure(line: bytes) -> RunFailed | None:
    try:
        event = from_json(json.loads(line))
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return event if isinstance(event, RunFailed) else None
