"""Textual's driver for an app in a browser tab, extended for tabs that close, stall, or send too much."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import wait
from contextlib import suppress
from typing import Any

from textual.app import App
from textual.drivers.web_driver import WebDriver
from textual.message import Message

from ...core.utils.files import write_all
from .messages import TerminalLost

MAX_PENDING = 64
"""Messages that wait for the app; while there are more, keys stay in the pipe, and then with the browser."""
POLL_SECONDS = 0.01


class BrowserDriver(WebDriver):
    """The server on the other end of the pipes is the terminal: when they close, the terminal is lost."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._write = self._write_packet
        self._lost = threading.Event()

    def _write_packet(self, packet: bytes) -> int:
        if not self._lost.is_set():
            try:
                write_all(self.fileno, packet)
            except OSError:
                self._lose()
        return len(packet)

    def run_input_thread(self) -> None:
        super().run_input_thread()
        if not self.exit_event.is_set():
            self._lose()

    def _lose(self) -> None:
        if not self._lost.is_set():
            self._lost.set()
            with suppress(RuntimeError):  # the app has ended
                self._app.post_message(TerminalLost())

    def send_message(self, message: Message) -> None:
        """Post a message from the input thread, once the app has taken others: of keys, gigabytes could wait."""
        while self._pending() > MAX_PENDING and not self.exit_event.wait(POLL_SECONDS):
            pass
        posting = self._app._post_message(message)  # pyright: ignore[reportPrivateUsage] - as Textual's own does
        posted = asyncio.run_coroutine_threadsafe(posting, self._loop)
        while not (posted.done() or self.exit_event.is_set()):
            wait([posted], POLL_SECONDS)

    def _pending(self) -> int:
        """Messages that wait for the app and for what it passes keys on to."""
        app = self._app
        screen = app.screen_stack[-1] if app.screen_stack else None
        return sum(node.message_queue_size for node in (app, screen, screen and screen.focused) if node)
