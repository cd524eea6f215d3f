"""The terminal itself: written to without ever waiting for it, and put back as it was found."""

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

MOST_WAITING = 64 * 2**10
"""Bytes that may wait for a terminal before whole frames are refused."""
AT_ONCE = 64 * 2**10
AT_ONCE_BLOCKING = 256
"""What a terminal that says it takes something takes without blocking."""
WAKE = signal.SIGURG
"""Interrupts what a thread waits for, where a handler is set, and does nothing where none is."""
GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL

# CAN ends a sequence that was cut off in its middle.
SHOW_CURSOR = "\x18\x1b[0m\x1b[?25h"
LEAVE_SCREEN = (
    "\x18\x1b[?2026l\x1b[?2004l\x1b[?7h\x1b[?2048l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"
    "\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l\x1b[0m"
)


class Outlet:
    """Writes to a terminal in a thread of its own; a stalled one is refused new frames: memory is bounded."""

    def __init__(self, descriptor: int, *, drained: Callable[[], None], lost: Callable[[], None]) -> None:
        self._terminal, self._at_once = _own(descriptor)
        self._drained, self._lost = drained, lost
        self._ear, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._refused = self._closing = self._abandoned = False
        self.gone = False
        """Whether the terminal went away."""
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    def put(self, text: str, *, refusable: bool) -> None:
        """Take text to write; a frame is refused while too much waits, `drained` tells when to draw anew."""
        content = text.encode(errors="replace")
        with self._lock:
            if self.gone or self._closing:
                return
            if refusable and self._size > MOST_WAITING:
                self._refused = True
                return
            self._waiting.append(content)
            self._size += len(content)
        self._ring()

    def close(self, seconds: float) -> bool:
        """Give the terminal some time to take what waits; whether it took all. Never blocks longer."""
        self._closing = True
        self._ring()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._abandoned = True
            self._ring()
            # A thread that blocks all the same is a daemon, and is left behind.
            self._thread.join(0.1)
        return not self._waiting and not self.gone

    def _ring(self) -> None:
        with self._lock, suppress(BlockingIOError):
            if self._bell >= 0:
                os.write(self._bell, b"!")

    def _run(self) -> None:
        try:
            self._write_until_closed()
        finally:
            with self._lock:
                for descriptor in (self._terminal, self._ear, self._bell):
                    os.close(descriptor)
                self._bell = -1

    def _write_until_closed(self) -> None:
        poll = select.poll()
        poll.register(self._ear, select.POLLIN)
        while not self._abandoned and (self._waiting or not self._closing):
            poll.register(self._terminal, select.POLLOUT if self._waiting else 0)
            for descriptor, what in poll.poll():
                if descriptor == self._ear:
                    os.read(self._ear, 4096)
                elif what & GONE or not self._write():
                    self._lose()
                    return

    def _write(self) -> bool:
        """Write what the terminal takes; False when it is gone."""
        with self._lock:
            content = self._waiting[0]
        try:
            written = os.write(self._terminal, content[: self._at_once])
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


class Found:
    """A terminal's settings as they were found, and the way back to them from any thread."""

    def __init__(self, keyboard: int, screen: int, leave: str) -> None:
        self._keyboard, self._screen, self._leave = os.dup(keyboard), os.dup(screen), leave
        self._attributes = _attributes(keyboard)

    def put_back(self) -> None:
        """Restore settings and modes; what the terminal did not take yet is thrown away."""
        # The settings may be changed from the background too, where the default answer is to stop the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        if self._attributes is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._keyboard, termios.TCSANOW, self._attributes)
        say_at_once(self._screen, self._leave)

    def close(self) -> None:
        """Let go of the terminal."""
        os.close(self._keyboard)
        os.close(self._screen)


def say_at_once(descriptor: int, text: str) -> None:
    """Write a few bytes to a terminal that may be stalled or gone, without ever blocking; they overtake what waits."""
    with suppress(OSError, termios.error):
        termios.tcflush(descriptor, termios.TCOFLUSH)
        # A main thread that hangs in a write keeps others from writing, and does not notice that there is room again.
        signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
        own, at_once = _own(descriptor)
        try:
            ready = select.poll()
            ready.register(own, select.POLLOUT)
            if any(what & select.POLLOUT for _, what in ready.poll(100)):
                os.write(own, text.encode()[:at_once])
        finally:
            os.close(own)


def in_front(descriptor: int) -> bool | None:
    """Whether this process may read from its terminal; False in a shell's background, None where it is gone."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return None


def _own(descriptor: int) -> tuple[int, int]:
    """The terminal opened anew, so that it never blocks us nor stops blocking others, and how much to write at once."""
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    for path in (_name(descriptor), "/dev/tty"):
        with suppress(OSError):
            return os.open(path, flags), AT_ONCE
    return os.dup(descriptor), AT_ONCE_BLOCKING


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
