"""Opens the app: on this terminal, or in a browser on this machine."""

from __future__ import annotations

import locale
import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from core.errors import InputError
from core.runs import RunIndex
from tui.app import Torchdeck
from tui.console import Console, guarded
from tui.messages import Mode
from tui.refresh import RATES, Refresh, Speed
from tui.state import State
from tui.workspace import Workspace


def open_app(
    logs: Path,
    data: Path,
    refresh: Literal["auto"] | Speed,
    ascii_only: bool,
    page: Mode = "setup",
    watch: Path | None = None,
) -> int:
    """Run the app on this terminal, watching the run of a directory where one is given; its exit code.

    Raises:
        InputError: there is no terminal.
    """
    served = "TEXTUAL_DRIVER" in os.environ
    if not served and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError("the app needs a terminal", "run it in one, or use: torchdeck run PRESET")
    workspace = Workspace(logs, data, State(_state_folder()), time.time, RunIndex(logs))
    rates, plain = rates_for(refresh, os.environ), ascii_only or not _speaks_utf8()
    # In a browser the descriptors carry the protocol, so nothing may be put in their place.
    with nullcontext(Console()) if served else guarded() as console:
        app = Torchdeck(workspace, refresh=rates, ascii_only=plain, console=console, page=page, watch=watch)
        app.run()
    return app.return_code or 0


def rates_for(refresh: Literal["auto"] | Speed, environment: Mapping[str, str]) -> Refresh:
    """How often to draw; a line to elsewhere is spared."""
    if refresh != "auto":
        return RATES[refresh]
    return RATES["slow" if environment.get("SSH_CONNECTION") else "normal"]


def serve_app(port: int, logs: Path, data: Path) -> None:
    """Serve the app on the loopback address until Ctrl-C.

    Raises:
        InputError: textual-serve is not installed, or the port is taken.
    """
    try:
        from tui.serving import LoopbackServer, check_free
    except ImportError:
        raise InputError(
            "torchdeck serve needs textual-serve",
            "install Torchdeck with its extra named serve: uv run --extra serve torchdeck serve",
        ) from None
    check_free(port)
    command = [sys.executable, "-m", "tui.cli", "tui", "--logs", str(logs.absolute()), "--data", str(data.absolute())]
    LoopbackServer(shlex.join(command), port).serve()


def _state_folder() -> Path:
    import platformdirs

    given = os.environ.get("TORCHDECK_STATE")
    return Path(given) if given else platformdirs.user_state_path("torchdeck")


def _speaks_utf8() -> bool:
    return "utf" in locale.getpreferredencoding(False).lower()
