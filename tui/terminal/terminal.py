"""Write to a terminal without blocking, and restore its settings at the end."""

from __future__ import annotations

import os
import select
import signal
import termios
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MAX_QUEUED = 64 * 2**10
"""Bytes that may be queued for a terminal before further frames are refused."""
WRITE_SIZE = 64 * 2**10
BLOCKING_WRITE_SIZE = 256
"""Bytes that a terminal opened in blocking mode accepts without blocking, once poll reports it writable."""
WAKE_SIGNAL = signal.SIGURG
"""Interrupts a blocked system call if a handler is installed, and is ignored otherwise."""
GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL

# CAN cancels an escape sequence that was cut off halfway.
SHOW_CURSOR = "\x18\x1b[0m\x1b[?25h"
LEAVE_SCREEN = (
    "\x18\x1b[?2026l\x1b[?2004l\x1b[?7h\x1b[?2048l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"
    "\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l\x1b[0m"
)


class TerminalWriter:
    """Writes to a terminal from a separate thread; while the terminal stalls, frames are refused to bound memory."""

    def __init__(self, descriptor: int, *, drained: Callable[[], None], lost: Callable[[], None]) -> None:
        self._terminal, self._write_size = _reopen(descriptor)
        self._drained, self._lost = drained, lost
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._refused = self._closing = self._abandoned = False
        self.gone = False
        """Whether the terminal was closed."""
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    def put(self, text: str, *, refusable: bool) -> None:
        """Queue text; frames (`refusable`) are dropped while the queue is full, then `drained` asks for a redraw."""
        content = text.encode(errors="replace")
        with self._lock:
            if self.gone or self._closing:
                return
            if refusable and self._size > MAX_QUEUED:
                self._refused = True
                return
            self._waiting.append(content)
            self._size += len(content)
        self._wake()

    def close(self, seconds: float) -> bool:
        """Wait at most `seconds` for the queue to be written; returns whether all of it was."""
        self._closing = True
        self._wake()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._abandoned = True
            self._wake()
            # If it blocks nonetheless, it is a daemon thread and can be abandoned.
            self._thread.join(0.1)
        return not self._waiting and not self.gone

    def _wake(self) -> None:
        with self._lock, suppress(BlockingIOError):
            if self._wake_write >= 0:
                os.write(self._wake_write, b"!")

    def _run(self) -> None:
        try:
            self._write_until_closed()
        finally:
            with self._lock:
                for descriptor in (self._terminal, self._wake_read, self._wake_write):
                    os.close(descriptor)
                self._wake_write = -1

    def _write_until_closed(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        while not self._abandoned and (self._waiting or not self._closing):
            poll.register(self._terminal, select.POLLOUT if self._waiting else 0)
            for descriptor, what in poll.poll():
                if descriptor == self._wake_read:
                    os.read(self._wake_read, 4096)
                elif what & GONE or not self._write():
                    self._lose()
                    return

    def _write(self) -> bool:
        """Write as much as the terminal accepts; False if it was closed."""
        with self._lock:
            content = self._waiting[0]
        try:
            written = os.write(self._terminal, content[: self._write_size])
        except BlockingIOError:
            return True
        except OSError:
            return False
        with self._lock:
            self._waiting.popleft()
            if written < len(content):
                self._waiting.appendleft(content[written:])
            self._size -= written
            drained = self._refused and not self._waiting
            self._refused = self._refused and not drained
        if drained:
            self._drained()
        return True

    def _lose(self) -> None:
        with self._lock:
            self.gone = True
            self._waiting.clear()
            self._size = 0
        if not self._closing:
            self._lost()


class SavedTerminal:
    """A terminal's settings at the start, which any thread can restore."""

    def __init__(self, keyboard: int, screen: int, leave: str) -> None:
        self._keyboard, self._screen, self._leave = os.dup(keyboard), os.dup(screen), leave
        self._attributes = _attributes(keyboard)

    def restore(self) -> None:
        """Restore settings and modes; unwritten output is discarded."""
        # Changing the settings from the background sends SIGTTOU, which would stop the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        if self._attributes is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._keyboard, termios.TCSANOW, self._attributes)
        write_without_blocking(self._screen, self._leave)

    def close(self) -> None:
        """Close the duplicated descriptors."""
        os.close(self._keyboard)
        os.close(self._screen)


def write_without_blocking(descriptor: int, text: str) -> None:
    """Write a few bytes ahead of the queued output to a terminal that may be stalled or closed; never blocks."""
    with suppress(OSError, termios.error):
        termios.tcflush(descriptor, termios.TCOFLUSH)
        # A main thread that is blocked in a write keeps others from writing, and does not notice the flush by itself.
        signal.pthread_kill(threading.main_thread().ident or 0, WAKE_SIGNAL)
        reopened, write_size = _reopen(descriptor)
        try:
            ready = select.poll()
            ready.register(reopened, select.POLLOUT)
            if any(what & select.POLLOUT for _, what in ready.poll(100)):
                os.write(reopened, text.encode()[:write_size])
        finally:
            os.close(reopened)


def is_foreground(descriptor: int) -> bool | None:
    """Whether this process is in its terminal's foreground group; None if the terminal was closed."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return None


def _reopen(descriptor: int) -> tuple[int, int]:
    """Open the terminal again in non-blocking mode, which others are not affected by; and the bytes per write."""
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    for path in (_name(descriptor), "/dev/tty"):
        with suppress(OSError):
            return os.open(path, flags), WRITE_SIZE
    return os.dup(descriptor), BLOCKING_WRITE_SIZE


def _name(descriptor: int) -> str:
    try:
        return os.ttyname(descriptor)
    except OSError:
        return "/dev/tty"


def _attributes(descriptor: int) -> list[Any] | None:
    try:
        return termios.tcgetattr(descriptor)
    except termios.error:
        return None
