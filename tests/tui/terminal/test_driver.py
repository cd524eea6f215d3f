import inspect
import os
import queue
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from textual import _ansi_sequences
from textual.drivers._writer_thread import WriterThread
from textual.drivers.linux_driver import LinuxDriver

from torchdeck.tui.terminal.driver import FRAME_END, FRAME_START, MAX_MODE_LENGTH, MODES, TerminalDriver
from torchdeck.tui.terminal.terminal import LEAVE_SCREEN, MAX_QUEUED, SavedTerminal, TerminalWriter

TIMEOUT = 30
FRAME = "x" * 2048


class Terminal:
    """Both sides of a terminal, and what a writer to it reported."""

    def __init__(self) -> None:
        self.far, self.near = os.openpty()
        self.drained, self.lost = threading.Event(), threading.Event()
        self.writer = TerminalWriter(self.near, drained=self.drained.set, lost=self.lost.set)

    def read(self, ending: bytes) -> bytes:
        said = b""
        while not said.endswith(ending):
            said += os.read(self.far, 65536)
        return said

    def read_to_its_end(self) -> None:
        with suppress(OSError):
            while os.read(self.far, 65536):
                pass


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.writer.close(0)
    os.close(opened.near)
    os.close(opened.far)


def test_a_stalled_terminal_is_refused_frames_and_asked_for_a_new_one_when_it_takes_them(terminal: Terminal) -> None:
    for _ in range(1000):
        terminal.writer.put(FRAME, refusable=True)
    assert terminal.writer._size <= MAX_QUEUED + len(FRAME)
    terminal.writer.put("\x1b[?25h", refusable=False)
    said = terminal.read(b"\x1b[?25h")
    assert terminal.drained.wait(TIMEOUT)
    # Whole frames only.
    assert len(said.removesuffix(b"\x1b[?25h")) % len(FRAME) == 0
    assert terminal.writer.close(TIMEOUT)


def test_the_writer_of_textual_blocks_the_app_there(terminal: Terminal) -> None:
    with os.fdopen(os.dup(terminal.near), "w") as file:
        writer = WriterThread(file)
        writer.start()
        with suppress(queue.Full):
            while True:
                writer._queue.put(FRAME, timeout=1)
        assert writer._queue.full()
        threading.Thread(target=terminal.read_to_its_end, daemon=True).start()
        writer.stop()


def test_closing_never_waits_for_a_stalled_terminal(terminal: Terminal) -> None:
    for _ in range(100):
        terminal.writer.put(FRAME, refusable=True)
    assert not terminal.writer.close(0)
    assert not terminal.writer._thread.is_alive()


def test_a_terminal_that_goes_away_is_told_once_and_takes_nothing_more() -> None:
    terminal = Terminal()
    os.close(terminal.far)
    assert terminal.lost.wait(TIMEOUT)
    terminal.writer.put(FRAME, refusable=False)
    assert terminal.writer._size == 0
    assert not terminal.writer.close(TIMEOUT)
    os.close(terminal.near)


def test_a_terminal_is_put_back_though_it_is_stalled(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.near)
    saved = SavedTerminal(terminal.near, terminal.near, LEAVE_SCREEN)
    raw = termios.tcgetattr(terminal.near)
    raw[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal.near, termios.TCSANOW, raw)
    for _ in range(100):
        terminal.writer.put(FRAME, refusable=True)
    terminal.writer.close(0)
    putting = threading.Thread(target=saved.restore)
    putting.start()
    putting.join(TIMEOUT)
    assert not putting.is_alive()
    assert termios.tcgetattr(terminal.near) == before
    assert LEAVE_SCREEN.encode() in terminal.read(b"\x1b[0m")
    saved.close()


def test_the_driver_rests_on_what_textual_has() -> None:
    """Textual may change names that it does not promise to keep; this says so before a terminal does."""
    assert (_ansi_sequences.SYNC_START, _ansi_sequences.SYNC_END) == (FRAME_START, FRAME_END)
    source = inspect.getsource(LinuxDriver)
    for name in ("self._file = sys.__stderr__", "self._key_thread", "self.exit_event", "self.fileno ="):
        assert name in source
    # All that goes to the terminal goes through `write`, and all that changes its modes is known as such.
    assert source.count("_writer_thread.write(") == 1
    for text in ("\x1b[?1049h", "\x1b[?2048$p", "\x1b[>25u", "\x1b[<u"):
        assert text.startswith(MODES)
        assert len(text) <= MAX_MODE_LENGTH
    assert set(vars(TerminalDriver)) >= {"write", "close", "disable_input", "stop_application_mode"}
    for name in ("write", "close", "disable_input", "start_application_mode", "stop_application_mode"):
        assert name in vars(LinuxDriver)
    for name in ("suspend_application_mode", "resume_application_mode"):
        assert hasattr(LinuxDriver, name)
