"""The server of the app in a browser: for whoever has its address, on this machine only, and gone when it is told."""

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
_REFUSED = "Open the address that torchdeck serve printed: it ends with a token that this request lacks.\n"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LoopbackServer(Server):
    """Serves one app a browser tab.

    Whoever can connect to the port could train, delete and read here, other accounts of this machine among them; so
    every request must carry the token that only the printed address has, or the cookie that the first page leaves.
    """

    def __init__(self, command: str, port: int) -> None:
        super().__init__(command, host=LOOPBACK, port=port, title="torchdeck")
        self._token = secrets.token_urlsafe(32)
        # Cookies do not tell ports apart.
        self._cookie = f"torchdeck-{port}"
        self._tabs: set[asyncio.Task[Any]] = set()

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK}:{self.port}/?token={self._token}"

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._checked)
        return app

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through what has the cookie; the printed address gets it, and the bare page."""
        if self._is_ours(request.query.get("token", "")) and request.path == "/":
            kept = {key: value for key, value in request.query.items() if key != "token"}
            answer = web.Response(status=303, headers={"Location": str(request.rel_url.with_query(kept))})
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        elif self._is_ours(request.cookies.get(self._cookie, "")):
            return await handler(request)
        else:
            answer = web.Response(status=403, text=_REFUSED)
        # The page fetches a font from elsewhere, which need not learn where it stands.
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _is_ours(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(errors="replace"), self._token.encode())

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Connect a tab, unless a page from elsewhere asks, be it of another server on this machine."""
        if request.headers.get("Origin", "") not in ("", f"http://{LOOPBACK}:{self.port}"):
            raise web.HTTPForbidden(text="the app is only for pages of its own address")
        task = asyncio.current_task()
        assert task is not None
        self._tabs.add(task)
        try:
            return await super().handle_websocket(request)
        finally:
            self._tabs.discard(task)

    async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002
        """Tell the address."""
        sys.stdout.write(f"torchdeck is served on {self.address}\nCtrl-C ends it.\n")
        sys.stdout.flush()

    async def on_shutdown(self, app: web.Application) -> None:
        """Close the tabs at once, so that their runs stop with a checkpoint now."""
        await super().on_shutdown(app)
        left = list(self._tabs)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


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
