"""The driver of an app in a browser tab, over pipes that a test holds."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from fault_counts import Faults
from textual import events

from torchdeck.tui.terminal.browser_driver import MAX_PENDING, BrowserDriver
from torchdeck.tui.terminal.messages import TerminalLost


class SlowApp:
    """An app that takes a message when it is told to."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.taken = 0
        self.longest = 0
        self.screen_stack: list[Any] = []

    @property
    def message_queue_size(self) -> int:
        return len(self.posted) - self.taken

    async def _post_message(self, message: Any) -> bool:
        return self.post_message(message)

    def post_message(self, message: Any) -> bool:
        self.posted.append(message)
        self.longest = max(self.longest, self.message_queue_size)
        return True


class Pipes:
    """The other end of a driver."""

    def __init__(self, app: SlowApp) -> None:
        self.app = app
        (near_in, self.to_app), (self.from_app, near_out) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(near_in, "rb"), os.fdopen(near_out, "wb")

    def send(self, keys: bytes) -> None:
        packet = b"D" + len(keys).to_bytes(4, "big") + keys
        threading.Thread(target=os.write, args=(self.to_app, packet), daemon=True).start()

    def lost(self) -> int:
        return sum(isinstance(message, TerminalLost) for message in self.app.posted)


@pytest.fixture
async def pipes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pipes]:
    opened = Pipes(SlowApp())
    monkeypatch.setattr(sys, "__stdin__", opened.stdin)
    monkeypatch.setattr(sys, "__stdout__", opened.stdout)
    yield opened
    opened.stdin.close()
    opened.stdout.close()
    for descriptor in (opened.to_app, opened.from_app):
        with suppress(OSError):
            os.close(descriptor)


@pytest.fixture
async def driver(pipes: Pipes) -> AsyncIterator[BrowserDriver]:
    made = BrowserDriver(pipes.app)  # type: ignore[arg-type]
    reads = threading.Thread(target=made.run_input_thread, daemon=True)
    reads.start()
    yield made
    made.exit_event.set()
    made._input_reader.close()
    reads.join(30)


async def waiting(met: Callable[[], object]) -> None:
    """Let the driver post until a condition is met."""
    async with asyncio.timeout(60):
        while not met():
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("driver")
async def test_keys_that_come_faster_than_the_app_takes_them_wait_outside_it(pipes: Pipes, faults: Faults) -> None:
    pipes.send(b"j" * 4000)
    app = pipes.app
    await waiting(lambda: app.message_queue_size > MAX_PENDING)
    for _ in range(500):
        await asyncio.sleep(0.0002)
    while app.taken < 4000:
        await waiting(lambda: app.message_queue_size)
        app.taken += app.message_queue_size
    faults("floods of keys")
    # None is lost, and the queue, at some kilobytes a key, never long.
    assert sum(isinstance(message, events.Key) for message in app.posted) == 4000
    assert app.longest <= MAX_PENDING + 1


@pytest.mark.usefixtures("driver")
async def test_a_server_that_is_gone_is_a_lost_terminal(pipes: Pipes) -> None:
    os.close(pipes.to_app)
    await waiting(pipes.lost)


async def test_what_nobody_reads_any_more_is_a_lost_terminal_and_no_crash(driver: BrowserDriver, pipes: Pipes) -> None:
    os.close(pipes.from_app)
    for _ in range(3):
        driver.write("a frame")
    assert pipes.lost() == 1
