"""Serve the app to browsers on this machine, protected by an access token, until the process is stopped."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from textual_serve.server import Server

from ...core.errors import InputError

LOOPBACK = "127.0.0.1"
_UNAUTHORIZED = "This request lacks the access token: open the address that torchdeck serve printed.\n"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LoopbackServer(Server):
    """Serves one app per browser tab.

    Anyone who can connect to the port, including other accounts of this machine, could train, delete and read. So
    every request must carry the token from the printed address, or the cookie that the first page sets.
    """

    def __init__(self, command: str, port: int) -> None:
        super().__init__(command, host=LOOPBACK, port=port, title="torchdeck")
        self._token = secrets.token_urlsafe(32)
        # Cookies are shared by all ports of a host.
        self._cookie = f"torchdeck-{port}"
        self._tabs: set[asyncio.Task[Any]] = set()

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        return f"http://{LOOPBACK}:{self.port}/?token={self._token}"

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._authorize)
        return app

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Accept requests with the cookie; the address with the token sets it, and redirects to one without."""
        if self._is_ours(request.query.get("token", "")) and request.path == "/":
            kept = {key: value for key, value in request.query.items() if key != "token"}
            answer = web.Response(status=303, headers={"Location": str(request.rel_url.with_query(kept))})
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        elif self._is_ours(request.cookies.get(self._cookie, "")):
            return await handler(request)
        else:
            answer = web.Response(status=403, text=_UNAUTHORIZED)
        # The page fetches a font from another host, which must not learn its address.
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _is_ours(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(errors="replace"), self._token.encode())

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Connect a tab; pages of other origins are refused, also those of other servers on this machine."""
        if request.headers.get("Origin", "") not in ("", f"http://{LOOPBACK}:{self.port}"):
            raise web.HTTPForbidden(text="cross-origin request refused")
        task = asyncio.current_task()
        assert task is not None
        self._tabs.add(task)
        try:
            return await super().handle_websocket(request)
        finally:
            self._tabs.discard(task)

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
