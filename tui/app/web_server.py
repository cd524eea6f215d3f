"""Serve the app to browsers on this machine, at an address that cannot be guessed, until the process is stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from ...core.errors import InputError

LOOPBACK = "127.0.0.1"
HEARTBEAT_SECONDS = 30.0
"""A browser is lost if it does not answer for one and a half times as long; a shorter stall has no effect."""
MAX_KEYS = 65_536
"""Longest message, in characters; a longer paste is ignored."""
MIN_SIZE, MAX_SIZE = (2, 2), (600, 250)
"""Columns and rows; Textual allocates memory for each cell."""

REMOTE_LINK = re.compile(r'<link[^>]*"https://[^>]*>')
FONT = """<style>@font-face {{ font-family: "Roboto Mono"; font-weight: 100 700;
src: url("{static}fonts/RobotoMono-VariableFont_wght.ttf"); }}</style>"""


class Tab(AppService):
    """The app of one tab."""

    _leaving = False
    """Whether the app is ending by itself."""

    async def start(self, width: int, height: int) -> None:
        """Start the app at the size that the browser asks for, within bounds."""
        await super().start(*_bounded(width, height))

    async def set_terminal_size(self, width: int, height: int) -> None:
        """Resize the app, within bounds."""
        await super().set_terminal_size(*_bounded(width, height))

    async def receive(self, kind: str, data: Any) -> None:
        """Pass on input from the browser; malformed input is ignored."""
        match kind, data:
            case "stdin", str() if len(data) <= MAX_KEYS:
                await self.send_bytes(data.encode(errors="replace"))
            case "resize", {"width": int(width), "height": int(height)}:
                await self.set_terminal_size(width, height)
            case "blur", _:
                await self.blur()
            case "focus", _:
                await self.focus()
            case _:
                pass

    async def on_data(self, payload: bytes) -> None:
        """Draw while the browser is connected; afterwards the app's output is dropped, so that it never blocks."""
        with suppress(Exception):
            await super().on_data(payload)

    async def on_meta(self, data: bytes) -> None:
        """Pass on the app's requests to the browser."""
        self._leaving = self._leaving or json.loads(data)["type"] == "exit"
        with suppress(Exception):
            await super().on_meta(data)

    async def hang_up(self) -> None:
        """Tell the app that its browser is gone, so that it hands its run over; wait for its end."""
        if self._process and not self._leaving:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)
        if self._task:
            await self._task


def _bounded(*size: int) -> tuple[int, int]:
    width, height = (min(max(given, least), most) for given, least, most in zip(size, MIN_SIZE, MAX_SIZE, strict=True))
    return width, height


class LoopbackServer(Server):
    """Serves one app per browser tab.

    Anyone who can connect to the port, including other accounts of this machine, could train, delete and read. So
    everything is served below a secret path, which only the printed address has. (A cookie would be sent to servers on
    other ports too.)
    """

    def __init__(self, command: str, port: int) -> None:
        # exec: signals must reach the app, not the shell that starts it.
        super().__init__(f"exec {command}", host=LOOPBACK, port=port, title="torchdeck")
        self._secret = secrets.token_urlsafe(32)
        self._origin = f"http://{LOOPBACK}:{port}"
        self._tabs: set[asyncio.Task[Any]] = set()

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"{self._origin}/{self._secret}/"

    def initialize_logging(self) -> None:
        """Log warnings only: every request line contains the secret, and so do the local variables of a traceback."""
        logging.basicConfig(level="WARNING", format="%(message)s")
        logging.getLogger("aiohttp.access").disabled = True

    async def _make_app(self) -> web.Application:
        app = web.Application()
        app.add_subapp(f"/{self._secret}", await super()._make_app())
        # The page downloads files from here; each key is random and works once.
        app.router.add_get("/download/{key}", self.handle_download)
        app.on_response_prepare.append(self._protect)
        return app

    async def _protect(self, _: web.Request, response: web.StreamResponse) -> None:
        """Keep the browser from loading anything from other hosts, and from sending the address to them."""
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
            f" img-src 'self' data:; connect-src 'self' ws://{LOOPBACK}:{self.port}; frame-ancestors 'none'"
        )
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"

    async def handle_index(self, request: web.Request) -> web.StreamResponse:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The page, with the packaged font instead of one from the internet."""
        page: Any = await super().handle_index(request)
        page.text = REMOTE_LINK.sub(FONT.format(static=f"/{self._secret}/static/"), page.text)
        return page

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run the app of a tab until either ends; pages of other origins are refused, also of other local servers."""
        if request.headers.get("Origin", "") not in ("", self._origin):
            raise web.HTTPForbidden(text="cross-origin request refused")
        websocket = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS)
        await websocket.prepare(request)
        tab = Tab(
            self.command,
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=websocket.close,  # pyright: ignore[reportArgumentType] - its result is not used
            download_manager=self.download_manager,
        )
        task = asyncio.current_task()
        assert task is not None
        self._tabs.add(task)
        try:
            await tab.start(to_int(request.query.get("width", ""), 80), to_int(request.query.get("height", ""), 24))
            await _forward(websocket, tab)
        except asyncio.CancelledError:
            await tab.stop()
            await websocket.close()
        else:
            # The app's remaining output must not wait for a browser that stalls.
            if request.transport:
                request.transport.abort()
            await tab.hang_up()
        finally:
            self._tabs.discard(task)
        return websocket

    async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002
        """Print the address."""
        sys.stdout.write(f"torchdeck is served on {self.address}\nPress Ctrl-C to stop.\n")
        sys.stdout.flush()

    async def on_shutdown(self, app: web.Application) -> None:
        """Close all tabs immediately, so that their runs stop with a checkpoint."""
        await super().on_shutdown(app)
        left = list(self._tabs)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def _forward(websocket: web.WebSocketResponse, tab: Tab) -> None:
    """Pass on input from the browser until it disconnects or the app ends."""
    async for message in websocket:
        with suppress(ValueError, RecursionError, ConnectionError):
            match message.json() if message.type is WSMsgType.TEXT else None:
                case ["ping", data]:
                    await websocket.send_json(["pong", data])
                case [str(kind), *rest]:
                    await tab.receive(kind, rest[0] if rest else None)
                case _:
                    pass


def check_free(port: int) -> None:
    """Check that the port can be bound: the server itself would fail with a traceback.

    Raises:
        InputError: it cannot be bound.
    """
    with socket.socket() as probe:
        # Without this, lingering connections of an earlier server would keep the port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            message = f"cannot listen on port {port} ({error.strerror})"
            raise InputError(message, "choose another with --port") from None
