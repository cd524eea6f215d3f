"""The app in a real terminal: a tmux pane that is typed into and read, as a person would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from fault_counts import Faults
from fork_pool import HIDDEN
from polling import until
from repository import ROOT

from torchdeck.core.control import Control
from torchdeck.core.events import RunCompleted, RunEvent
from torchdeck.core.runs.commands import send_command
from torchdeck.core.runs.layout import is_locked
from torchdeck.core.runs.reader import load_record
from torchdeck.core.runs.record import RunRecord

PLAIN = {"LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
TRAINS = re.compile(r"· running.* (?:[2-9]|[1-9]\d+)/3000 epochs", re.DOTALL)
FOCUSED = re.compile(r"\x1b\[1;7m(?:\x1b\[[\d;]*m)* ([\w ]+?) \x1b")
BRAILLE = re.compile(r"[\u2801-\u28ff]")

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, though nobody may have taken its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Terminal:
    """The app in the one pane of a tmux server of its own."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self._folder = folder
        self._name = f"torchdeck-{uuid.uuid4().hex[:12]}"
        own = {"TORCHDECK_STATE": str(folder / "state"), "TORCHDECK_PRESETS": str(folder / "presets")}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(HIDDEN)}
        self._environment = {**inherited, **own, **PLAIN}
        self._socket: Path | None = None
        self.process: psutil.Process | None = None

    def open(self) -> None:
        """Start the app, and behind it a `cat` that stands where a shell would prompt."""
        app = [
            sys.executable,
            "-m",
            "torchdeck.tui.cli",
            "tui",
            "--logs",
            str(self.logs),
            "--data",
            str(self._folder / "data"),
        ]
        line = f"{shlex.join(app)}; echo EXIT $?; exec cat"
        self.tmux("new-session", "-d", "-x", "120", "-y", "40", "-c", str(ROOT), "sh", "-c", line)
        self._socket = Path(self.ask("socket_path"))
        shell = psutil.Process(int(self.ask("pane_pid")))
        until(shell.children, self.screen)
        self.process = shell.children()[0]

    def close(self) -> None:
        """End the server, and the app if it is still there."""
        with suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")
        if self._socket:
            self._socket.unlink(missing_ok=True)
        if self.process:
            with suppress(psutil.NoSuchProcess):
                self.process.kill()

    def tmux(self, *command: str) -> str:
        server = ["tmux", "-u", "-L", self._name, "-f", "/dev/null"]
        done = subprocess.run(
            [*server, *command], capture_output=True, text=True, check=True, env=self._environment, timeout=20
        )
        return done.stdout

    def ask(self, *formats: str) -> str:
        """What tmux knows of the pane."""
        return self.tmux("display-message", "-p", " ".join(f"#{{{name}}}" for name in formats)).strip()

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def styled(self) -> str:
        """The screen with its colours and styles."""
        return self.tmux("capture-pane", "-p", "-e")

    def curves(self) -> list[str]:
        """What of the charts' lines stands on each row."""
        return ["".join(BRAILLE.findall(row)) for row in self.screen().splitlines()]

    def shows(self, *texts: str) -> None:
        """Wait until all of some texts are on the screen."""
        until(lambda: all(text in self.screen() for text in texts), lambda: f"{texts} not in\n{self.screen()}")

    def trains(self) -> None:
        """Wait until a run is seen to be past its first epoch."""
        until(lambda: TRAINS.search(self.screen()), self.screen)

    def runs(self) -> list[Path]:
        return sorted(self.logs.iterdir()) if self.logs.exists() else []

    def answer(self, text: str) -> None:
        """Choose an answer of a dialog, one by one from the last."""
        until(lambda: FOCUSED.search(self.styled()), self.screen)
        while text not in (focused := FOCUSED.findall(self.styled())):
            self.press("Left")
            until(lambda before=focused: FOCUSED.findall(self.styled()) not in ([], before), self.screen)
        self.press("Enter")

    def app(self) -> psutil.Process:
        assert self.process is not None
        return self.process


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    try:
        opened.open()
        yield opened
    finally:
        opened.close()


def go_to_epochs(terminal: Terminal) -> None:
    """From the presets into the form, whose first field is that of the epochs."""
    terminal.shows("Enter edits the highlighted preset")
    terminal.press("Enter")
    terminal.shows("1 to 100,000 · preset 30")


def start_training(terminal: Terminal) -> None:
    """Start the quickstart, for longer than any test lasts, and wait for its first epoch's end."""
    go_to_epochs(terminal)
    terminal.type("3000")
    terminal.shows("1 run of 3,000 epochs")
    terminal.press("F5")
    terminal.trains()


def saved(terminal: Terminal) -> RunRecord:
    """What the log of the last run says."""
    return load_record(terminal.runs()[-1])


def ended_well(record: RunRecord, reason: str) -> None:
    """The last event is that of a run that was stopped, and it can go on from where it ended."""
    assert isinstance(record.ending, RunCompleted)
    assert (record.status, record.reason) == ("stopped", reason)
    assert record.checkpoints[-1].step == record.ending.step > 0


def test_the_whole_way_in_a_terminal(terminal: Terminal, go_on: Callable[..., list[RunEvent]]) -> None:
    # Edit a field wrongly, see why, and mend it.
    go_to_epochs(terminal)
    terminal.press("BSpace")
    # Typed right behind a backspace, a character would overtake it (Textual's issue 6605).
    terminal.shows("epochs  must be a valid integer")
    terminal.type("0")
    terminal.shows("1 setting to fix", "epochs  must be greater than or equal to 1")
    terminal.press("F5")
    terminal.shows("1 setting to fix")
    assert terminal.runs() == []
    terminal.press("BSpace")
    terminal.shows("epochs  must be a valid integer")
    terminal.type("3000")
    terminal.shows("1 run of 3,000 epochs", "69,000 steps")

    # Start, and watch the charts move.
    terminal.press("F5")
    terminal.trains()
    until(lambda: any(terminal.curves()), terminal.screen)
    seen = terminal.curves()
    until(lambda: terminal.curves() != seen, terminal.screen)

    # Pause, look at another page, and go on.
    terminal.press("p")
    terminal.shows("· paused")
    terminal.press("3")
    terminal.shows("1 of 1")
    terminal.press("2")
    terminal.shows("· paused")
    assert saved(terminal).status == "paused"
    terminal.press("p")
    terminal.shows("· running")

    # Stop after the epoch, and find the run among the runs.
    terminal.press("x")
    terminal.shows("Stop this run?")
    terminal.answer("After this epoch")
    terminal.shows("· stopped")
    ended_well(saved(terminal), "requested in the app")
    assert saved(terminal).step % 23 == 0
    terminal.press("3")
    terminal.shows("1 of 1", "■ stopped")

    # Start another, and leave while it runs.
    terminal.press("1")
    terminal.shows("1 run of 3,000 epochs")
    terminal.press("F5")
    terminal.trains()
    terminal.press("q")
    terminal.shows("A run is active")
    terminal.answer("Stop and quit")
    terminal.shows("EXIT 0")
    assert terminal.ask("alternate_on", "mouse_any_flag", "cursor_flag") == "0 0 1"
    terminal.press("h", "i", "Enter")
    terminal.shows("hi\nhi")

    # Its log is whole, and it goes on.
    first, second = terminal.runs()
    assert first != second
    ended_well(saved(terminal), "the app was quit")
    control, step = Control(), saved(terminal).step
    control.request("stop-after-epoch")
    ended = go_on(second, control)[-1]
    assert isinstance(ended, RunCompleted)
    assert ended.reason == "a stop after the epoch was requested"
    # Stopped after the last batch of an epoch, it had only that epoch's evaluation to go on with.
    assert ended.step >= step


def test_a_terminated_app_leaves_its_run_to_be_resumed(terminal: Terminal) -> None:
    start_training(terminal)
    terminal.app().terminate()
    terminal.shows("EXIT 143")
    assert terminal.ask("alternate_on", "mouse_any_flag", "cursor_flag") == "0 0 1"
    ended_well(saved(terminal), "signal SIGTERM")


def test_an_app_whose_pane_is_killed_hands_its_run_over(terminal: Terminal, faults: Faults) -> None:
    start_training(terminal)
    terminal.tmux("kill-pane")
    until(lambda: is_gone(terminal.app()), lambda: f"{terminal.app()} stays")
    folder = terminal.runs()[-1]
    until(lambda: load_record(folder).attempt == 2, lambda: load_record(folder).status)
    send_command(folder, "stop")
    until(lambda: is_locked(folder) is False, lambda: load_record(folder).status)
    faults("signals")
    ended_well(saved(terminal), "requested by another process")
