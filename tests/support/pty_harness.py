"""A terminal for tests: what it shows, and how it stalls, shrinks and goes away."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import struct
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from fork_pool import ForkPool
from polling import until
from rich.cells import cell_len

from torchdeck.core.events import EpochCompleted, RunEvent
from torchdeck.core.runs.reader import EventReader
from torchdeck.core.utils.locks import is_held

MODE = re.compile(rb"\x1b\[\?(\d+)([hl])")
WRITTEN = re.compile(r"\x1b\[(\d+;\d+)H|(\x1b\[[\d;?<>=$]*[a-zA-Z]|\x1b.|\r|\n|[^\x1b\r\n]+)")
SYNC_QUERY, SYNC_ANSWER = b"\x1b[?2026$p", b"\x1b[?2026;2$y"
F5 = b"\x1b[15~"
ENDLESS = """
title = "Endless"
data = {name = "synthetic", size = 32, train_images = 320, test_images = 100, classes = 10}
model = {name = "lenet"}
optimizer = {name = "sgd", lr = 0.01}
training = {epochs = 30000, batch_size = 64, threads = 1, precision = "fp32"}
"""
AS_FOUND = {1049: "l", 25: "h", 1000: "l", 1003: "l", 1006: "l", 1004: "l", 2004: "l", 7: "h", 2026: "l"}


class Pty:
    """The far side of a terminal: reads what is written to it, unless it is told to stall."""

    def __init__(self, rows: int = 40, columns: int = 120) -> None:
        self.far, self.near = os.openpty()
        self.path = os.ttyname(self.near)
        self.said = bytearray()
        self._reading = threading.Event()
        self._reading.set()
        self._idle = threading.Event()
        self._ear, self._bell = os.pipe()
        self.resize(rows, columns)
        self.attributes = termios.tcgetattr(self.near)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self.far, select.POLLIN)
        poll.register(self._ear, select.POLLIN)
        with suppress(OSError):
            while self._goes_on():
                ready = [descriptor for descriptor, _ in poll.poll()]
                if self._ear in ready:
                    if os.read(self._ear, 1) == b"x":
                        return
                    continue
                said = os.read(self.far, 65536)
                self.said += said
                if SYNC_QUERY in said:
                    os.write(self.far, SYNC_ANSWER)

    def _goes_on(self) -> bool:
        if not self._reading.is_set():
            self._idle.set()
        return self._reading.wait()

    def stall(self) -> None:
        """Read no more, and be full of what no terminal shows."""
        self._idle.clear()
        self._reading.clear()
        os.write(self._bell, b"s")
        assert self._idle.wait(60)
        filling = os.open(self.path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(filling, bytes(256))
        os.close(filling)

    def read_on(self) -> None:
        """Read again."""
        self._reading.set()

    def press(self, keys: bytes) -> None:
        os.write(self.far, keys)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """Go away, as a closed window does; a thread that still reads would keep the terminal open."""
        os.write(self._bell, b"x")
        self.read_on()
        self._thread.join()
        os.close(self.far)
        self.far = -1

    def close(self) -> None:
        if self.far >= 0:
            self.hang_up()
        for descriptor in (self.near, self._ear, self._bell):
            os.close(descriptor)

    def shows(self, *texts: str) -> bool:
        """Whether all of some texts were written since the start."""
        return all(text.encode() in self.said for text in texts)

    def screen(self, since: int = 0) -> list[str]:
        """The characters on the screen, from what was written since an offset."""
        cells = [[" "] * 400 for _ in range(200)]
        row = column = 0
        for moved, text in WRITTEN.findall(bytes(self.said[since:]).decode(errors="replace")):
            if moved:
                row, column = (int(number) - 1 for number in moved.split(";"))
            elif text == "\r":
                column = 0
            elif text == "\n":
                row += 1
            else:
                for character in text if not text.startswith("\x1b") else "":
                    cells[row][column : column + cell_len(character)] = [character, ""][: cell_len(character)]
                    column += cell_len(character)
        return ["".join(line).rstrip() for line in cells]

    def modes(self) -> dict[int, str]:
        """The last state of each mode that was ever set or reset."""
        return {int(mode): state.decode() for mode, state in MODE.findall(bytes(self.said))}

    def damage(self) -> list[str]:
        """What is not as it was found: settings, modes, the keyboard protocol."""
        found = [f"mode {mode} {state}" for mode, state in self.modes().items() if AS_FOUND.get(mode, state) != state]
        if self.said.count(b"\x1b[>") > self.said.count(b"\x1b[<u"):
            found.append("keyboard protocol")
        if termios.tcgetattr(self.near) != self.attributes:
            found.append("settings")
        return found


class Log:
    """The events of the one run of a logs folder, as they come."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._reader: EventReader | None = None
        self.events: list[RunEvent] = []

    def read(self) -> list[RunEvent]:
        """All events until now."""
        if self._reader is None and (begun := list(self._logs.glob("*/events.jsonl"))):
            (log,) = begun
            self._reader = EventReader(log.parent)
        self.events.extend(self._reader.read() if self._reader else [])
        return self.events

    def epochs(self) -> int:
        """Epochs that were told, by all attempts."""
        return sum(isinstance(event, EpochCompleted) for event in self.read())


class Terminals:
    """What a test opens: terminals, and commands on them, with folders of the test's own; all gone at its end."""

    def __init__(self, fork_pool: ForkPool, folder: Path) -> None:
        self._fork_pool, self._folder = fork_pool, folder
        self.logs = folder / "logs"
        self._ptys: list[Pty] = []
        self._started: list[psutil.Process] = []
        for name, content in (("presets/endless.toml", ENDLESS), ("state/app.json", '{"preset": "endless"}')):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)

    def pty(self, rows: int = 40, columns: int = 120) -> Pty:
        opened = Pty(rows, columns)
        self._ptys.append(opened)
        return opened

    def start(
        self, pty: Pty, *arguments: str, ignored: Sequence[str] = (), change: str = "", **own: str
    ) -> psutil.Process:
        """Start a command on a terminal."""
        places = {"TORCHDECK_PRESETS": self._folder / "presets", "TORCHDECK_STATE": self._folder / "state"}
        places |= {"TORCHDECK_LOGS": self.logs, "TORCHDECK_DATA": self._fork_pool.data}
        environment = {name: str(path) for name, path in places.items()} | own
        pid = self._fork_pool.command(pty.path, arguments, environment, ignored=list(ignored), change=change)
        self._started.append(process := psutil.Process(pid))
        return process

    def code(self, process: psutil.Process, seconds: float = 60.0) -> int:
        """The exit code of a command, once it has ended by itself."""
        codes: list[int] = []

        def ended() -> bool:
            code = self._fork_pool.code(process.pid)
            codes.extend([] if code is None else [code])
            return bool(codes)

        until(ended, lambda: f"{process} stays: {process.threads()}", seconds)
        self._started.remove(process)
        return codes[0]

    def close(self) -> None:
        for process in [*self._started]:
            process.kill()
            self.code(process)
        for lock in self.logs.glob("*/run.lock"):
            # What took over a run outlives the test that fails.
            if is_held(lock):
                os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
        for pty in self._ptys:
            pty.close()
