"""The server of the app in a browser: for this machine only, for pages of its own only, and gone when it is told."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from textual_serve.server import Server

from core.errors import InputError

LOOPBACK = "127.0.0.1"
OWN_HOSTS = (LOOPBACK, "localhost")


class LoopbackServer(Server):
    """Serves one app a browser tab."""

    def __init__(self, command: str, port: int) -> None:
        super().__init__(command, host=LOOPBACK, port=port, title="torchdeck")
        self._tabs: set[asyncio.Task[Any]] = set()

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Connect a tab, unless a page from elsewhere asks: any page that is open in the browser could."""
        if not comes_from_here(request.headers.get("Origin", "")):
            raise web.HTTPForbidden(text="the app is only for pages of its own address")
        task = asyncio.current_task()
        assert task is not None
        self._tabs.add(task)
        try:
            return await super().handle_websocket(request)
        finally:
            self._tabs.discard(task)

    async def on_shutdown(self, app: web.Application) -> None:
        """Close the tabs at once, so that their runs stop with a checkpoint now."""
        await super().on_shutdown(app)
        left = list(self._tabs)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def comes_from_here(origin: str) -> bool:
    """Whether a request's Origin is a page of this machine; programs that are no browser send none."""
    try:
        return not origin or urlsplit(origin).hostname in OWN_HOSTS
    except ValueError:
        return False


def check_free(port: int) -> None:
    """Bind the port for an instant: the server's own failure is a traceback.

    Raises:
        InputError: it cannot be bound.
    """
    with socket.socket() as probe:
        # Without this, connections that linger from the last time would count as a server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            message = f"cannot listen on port {port} ({error.strerror})"
            raise InputError(message, "choose another with --port") from None
