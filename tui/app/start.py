"""Open the app on this terminal, or serve it to a browser on this machine."""

from __future__ import annotations

import locale
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Literal

from ...core.errors import InputError
from ...core.runs.index import RunIndex, list_runs
from ..state.feed import Feed
from ..state.messages import Mode, QuitRequested
from ..state.preferences import Preferences
from ..state.refresh_rates import RATES, RefreshRates, Speed
from ..state.workspace import Workspace
from ..terminal.browser_driver import BrowserDriver
from ..terminal.captured_output import CapturedOutput, capture_output
from ..terminal.driver import TerminalDriver
from ..terminal.exit_codes import run_exit_code
from ..terminal.shutdown import HangupPolicy, handle_signals
from ..terminal.terminal import LEAVE_SCREEN, SavedTerminal
from .app import Torchdeck

STARTUP_EXIT_SECONDS = 2.0


def open_app(
    logs: Path,
    data: Path,
    refresh: Literal["auto"] | Speed,
    ascii_only: bool,
    page: Mode = "setup",
    watch: Path | None = None,
    on_hangup: HangupPolicy = "hand-over",
) -> int:
    """Run the app on this terminal, following the run in `watch` if given; returns the exit code.

    Raises:
        InputError: there is no terminal.
    """
    served = "TEXTUAL_DRIVER" in os.environ
    if served:
        watch = watch or _newest_running(logs)
        page = "live" if watch else page
        # Ctrl-C in the server's terminal is for the server, which decides what becomes of its tabs.
        with suppress(OSError):
            os.setsid()
        # The server reports a closed tab by this signal, which `nohup torchdeck serve` would have its apps ignore.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    else:
        _check_terminal()
    workspace = Workspace(logs, data, Preferences(_state_folder()), time.time, RunIndex(logs))
    rates, plain = rates_for(refresh, os.environ), ascii_only or not _has_utf8()
    # For a browser, the descriptors carry the protocol, and must not be redirected.
    app = Torchdeck(
        workspace,
        refresh=rates,
        ascii_only=plain,
        page=page,
        watch=watch,
        driver_class=BrowserDriver if served else TerminalDriver,
        on_failure=lambda: handler.exit_after_run(lambda: 1),
    )
    with (
        nullcontext() if served else closing(SavedTerminal(0, 2, LEAVE_SCREEN)) as saved,
        handle_signals(_AppShutdown(app, saved, on_hangup)) as handler,
        nullcontext(CapturedOutput()) if served else capture_output() as captured,
    ):
        app.captured_output = captured
        app.run()
    return _run_exit_code(app) if app.run_outlives_app else app.return_code or 0


class _AppShutdown:
    """Shuts the app and its run down after a signal."""

    def __init__(self, app: Torchdeck, saved: SavedTerminal | None, on_hangup: HangupPolicy) -> None:
        self._app, self._saved, self._reason = app, saved, ""
        self._outlived_signals = (signal.SIGHUP,) if on_hangup == "hand-over" else ()

    def request_exit(self, number: int) -> None:
        """Ask the run to stop, or hand it over if it outlives this signal; then tell the app to quit."""
        self._reason = f"signal {signal.Signals(number).name}"
        feed = self._feed()
        if feed and feed.handover and number in self._outlived_signals:
            feed.handover.request()
        elif feed:
            feed.request("stop", self._reason)
        with suppress(RuntimeError):  # the app has ended
            if self._app.is_running:
                self._app.post_message(QuitRequested(self.exit_code(number)))

    def wait_for_end(self, seconds: float) -> bool:
        """Wait for the run's last event; a run that has not started yet has nothing to save."""
        feed = self._feed()
        if feed is None:
            return True
        if feed.handover:
            feed.handover.finish(lambda reason: feed.request("stop", f"{self._reason}; {reason}"))
        return feed.wait(seconds if feed.record.started else STARTUP_EXIT_SECONDS)

    def exit_code(self, number: int) -> int:
        """0 if another process continues the run, else that of the signal."""
        feed = self._app.workspace.feed
        return 0 if feed and feed.handed_over_to else 128 + number

    def restore_terminal(self) -> None:
        """Restore the terminal; a browser has none."""
        if self._saved:
            self._saved.restore()

    def _feed(self) -> Feed | None:
        return self._app.workspace.feed if self._app.workspace.training else None


def _run_exit_code(app: Torchdeck) -> int:
    """The exit code of a run that continued without the app."""
    feed = app.workspace.feed
    if feed is None:
        return 0
    feed.drain()
    return run_exit_code(feed.record.ending, None)


def _newest_running(logs: Path) -> Path | None:
    """The newest of the runs that are active, but for those of studies; one that is being handed over counts."""
    active = ("running", "paused", "handed_over")
    return next((row.folder for row in reversed(list_runs(logs)) if row.status in active and not row.study), None)


def _check_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError("the app needs a terminal", "run it in one, or use: torchdeck run PRESET")
    if (term := os.environ.get("TERM", "")) in ("dumb", "unknown"):
        raise InputError(f"the app cannot draw on a terminal of the type {term}", "use: torchdeck run PRESET")


def rates_for(refresh: Literal["auto"] | Speed, environment: Mapping[str, str]) -> RefreshRates:
    """How often to redraw; auto is slow over SSH."""
    if refresh != "auto":
        return RATES[refresh]
    return RATES["slow" if environment.get("SSH_CONNECTION") else "normal"]


def serve_app(port: int, logs: Path, data: Path) -> None:
    """Serve the app on the loopback address until Ctrl-C.

    Raises:
        InputError: textual-serve is not installed, or the port is taken.
    """
    try:
        from .web_server import LoopbackServer, check_free
    except ImportError:
        raise InputError(
            "torchdeck serve needs textual-serve",
            "install Torchdeck with its extra named serve: uv run --extra serve torchdeck serve",
        ) from None
    check_free(port)
    command = [
        sys.executable,
        "-m",
        "torchdeck.tui.cli",
        "tui",
        "--logs",
        str(logs.absolute()),
        "--data",
        str(data.absolute()),
    ]
    LoopbackServer(shlex.join(command), port).serve()


def _state_folder() -> Path:
    import platformdirs

    given = os.environ.get("TORCHDECK_STATE")
    return Path(given) if given else platformdirs.user_state_path("torchdeck")


def _has_utf8() -> bool:
    return "utf" in locale.getpreferredencoding(False).lower()
