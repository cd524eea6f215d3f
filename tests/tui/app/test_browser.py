"""The app in a browser: what `torchdeck serve` serves, driven in a headless Chromium over its DevTools protocol."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest
from aiohttp import web
from example_runs import Example, make_study
from repository import ROOT
from textual_serve.server import Server

from torchdeck.core.runs.reader import load_record
from torchdeck.core.studies.store import find_either
from torchdeck.tui.app.start import serve_app
from torchdeck.tui.app.web_server import LoopbackServer
from torchdeck.tui.report.write import write_report

HIDDEN = ("TORCHDECK_", "TEXTUAL", "COLUMNS", "LINES", "NO_COLOR", "SSH_CONNECTION")
PLAIN = {"LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1300,900",
    "--remote-debugging-port=0",
)
TRAINS = re.compile(r"· running.* (?:[2-9]|[1-9]\d)/30 epochs", re.DOTALL)
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{40,}")
# The page keeps its terminal to itself and draws it on a canvas, so its making is watched.
KEEP_TERMINAL = """
Object.defineProperty(Object.prototype, "terminal", {
    configurable: true,
    set(made) {
        window.kept = made;
        Object.defineProperty(this, "terminal", {value: made, writable: true});
    },
});
"""
READ_TERMINAL = """
(() => {
    const buffer = window.kept?.buffer.active;
    const rows = Array.from({length: buffer?.length ?? 0}, (_, row) => buffer.getLine(row));
    return rows.map(row => row.translateToString(true)).join("\\n");
})()
"""


async def until(met: Callable[[], Awaitable[object]], what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition is met; fails with what is there instead when it is not in time."""
    end = time.monotonic() + seconds
    while not await met():
        assert time.monotonic() < end, what()
        await asyncio.sleep(0.05)


class Page:
    """A page of the browser, and the terminal on it."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._calls = 0
        self.seen = ""
        self.requested: list[str] = []
        """The addresses that it asked for, once the domain Network is enabled."""

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        await self._connection.send_json({"id": self._calls, "method": method, "params": params})
        while True:
            answer = await self._connection.receive_json(timeout=20)
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return answer["result"]

    async def open(self, address: str) -> None:
        await self.call("Page.enable")
        await self.call("Page.addScriptToEvaluateOnNewDocument", source=KEEP_TERMINAL)
        await self.call("Page.navigate", url=address)

    async def press(self, key: str, code: int) -> None:
        """Press a key that writes nothing."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    async def click(self, x: int, y: int) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def screen(self) -> str:
        answer = await self.call("Runtime.evaluate", expression=READ_TERMINAL)
        self.seen = str(answer["result"].get("value", answer))
        return self.seen

    async def shows(self, *texts: str) -> None:
        """Wait until all of some texts are on the screen."""

        async def all_there() -> bool:
            shown = await self.screen()
            return all(text in shown for text in texts)

        await until(all_there, lambda: f"{texts} not in\n{self.seen}")


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the test's own, ended with all that it started."""
    own = {"HOME": str(folder), "TORCHDECK_STATE": str(folder / "state"), "TORCHDECK_PRESETS": str(folder / "presets")}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(HIDDEN)}
    with open(folder / f"{Path(command[0]).name}.log", "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env={**inherited, **own, **PLAIN}
        )
    try:
        yield process
    finally:
        started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        for left in (*started, process):
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait(20)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def address(tmp_path: Path, free_port: int) -> Iterator[str]:
    """The address that a server of the app printed."""
    folders = ["--logs", str(tmp_path / "logs"), "--data", str(tmp_path / "data")]
    command = [sys.executable, "-m", "torchdeck.tui.cli", "serve", "--port", str(free_port), *folders]
    with running(command, tmp_path) as server:
        log, end = tmp_path / f"{Path(sys.executable).name}.log", time.monotonic() + 60
        while not (found := ADDRESS.search(log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            threading.Event().wait(0.05)
        yield found[0]


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """An empty page of a browser that reaches this machine only."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    told = tmp_path / "browser" / "DevToolsActivePort"

    async def is_up() -> bool:
        return browser.poll() is not None or (told.exists() and told.read_text().count("\n") > 0)

    with running([BROWSER, *FLAGS, f"--user-data-dir={told.parent}", "about:blank"], tmp_path) as browser:
        await until(is_up, lambda: "the browser does not come up")
        if browser.poll() is not None:
            pytest.skip(f"{BROWSER} does not start")
        root = f"http://127.0.0.1:{told.read_text().split()[0]}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{root}/json/list") as answer:
                pages = [item for item in await answer.json() if item["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as connection:
                yield Page(connection)


async def answers(address: str) -> None:
    """Wait until a server takes connections."""
    place = urlsplit(address)

    async def connects() -> bool:
        with suppress(OSError), socket.create_connection((place.hostname, place.port), 1):
            return True
        return False

    await until(connects, lambda: f"nothing answers at {address}")


async def test_the_quickstart_trains_in_a_browser(page: Page, address: str, tmp_path: Path) -> None:
    await answers(address)
    await page.open(address)
    await page.shows("torchdeck", "1 Setup", "Enter edits the highlighted preset", "on cpu")

    # Keys go to the terminal once it was clicked; until then F5 loads the page anew.
    await page.click(1000, 8)
    await page.press("F5", 116)
    await page.shows("quickstart", "Loss", "Accuracy")

    async def trains() -> object:
        return TRAINS.search(await page.screen())

    await until(trains, lambda: page.seen)
    (folder,) = (tmp_path / "logs").iterdir()
    assert load_record(folder).epochs

    # Paused, it cannot come to its own end; the page closes, and it ends as a run that can go on.
    await page.call("Input.insertText", text="p")
    await page.shows("· paused")
    await page.call("Page.close")

    async def has_ended() -> object:
        return load_record(folder).ending

    await until(has_ended, lambda: load_record(folder).status)
    record = load_record(folder)
    assert (record.status, record.reason) == ("stopped", "the app ended")
    assert record.checkpoints[-1].step == record.step


def test_only_this_machine_can_reach_the_server(
    free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Server] = []
    monkeypatch.setattr(Server, "serve", lambda server: made.append(server))
    serve_app(free_port, tmp_path / "logs", tmp_path / "data")
    assert (made[0].host, made[0].port) == ("127.0.0.1", free_port)


def test_a_taken_port_is_told_in_one_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = subprocess.run(
            [sys.executable, "-m", "torchdeck.tui.cli", "serve", "--port", str(port)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
    assert told.returncode == 2
    assert (
        told.stderr == f"error: cannot listen on port {port} (Address already in use)\n  choose another with --port\n"
    )
    assert told.stdout == ""


@pytest.fixture
async def server(unused_port: int) -> AsyncIterator[LoopbackServer]:
    """A server that answers in this process."""
    made = LoopbackServer("true", unused_port)
    runner = web.AppRunner(await made._make_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_port).start()
    yield made
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps cookies, as a browser does."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as made:
        yield made


def root_of(server: LoopbackServer) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=guessed", "/static/js/textual.js", "/download/x", "/ws"])
async def test_what_lacks_the_token_is_refused(
    server: LoopbackServer, session: aiohttp.ClientSession, path: str
) -> None:
    for cookies in ({}, {f"torchdeck-{server.port}": "guessed"}, {"torchdeck": server._token}):
        async with session.get(root_of(server) + path, cookies=cookies) as answer:
            assert answer.status == 403
            assert "the address that torchdeck serve printed" in await answer.text()


@pytest.mark.parametrize("path", ["/static/js/textual.js", "/ws"])
async def test_the_token_opens_the_page_only(server: LoopbackServer, session: aiohttp.ClientSession, path: str) -> None:
    async with session.get(f"{root_of(server)}{path}?token={server._token}") as answer:
        assert answer.status == 403


async def a_tab(*_: object) -> web.Response:
    """Stands for a tab, which would start an app."""
    return web.Response(text="a tab")


async def test_the_printed_address_opens_the_app_and_is_not_kept_in_the_browser(
    server: LoopbackServer, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "handle_websocket", a_tab)
    async with session.get(server.address + "&fontsize=20") as answer:
        assert answer.status == 200
        assert str(answer.url) == f"{root_of(server)}/?fontsize=20"
        assert 'data-font-size="20"' in await answer.text()
        cookie = answer.history[0].headers["Set-Cookie"]
        assert ("HttpOnly" in cookie, "SameSite=Strict" in cookie) == (True, True)
    async with session.get(f"{root_of(server)}/static/js/textual.js") as answer:
        assert answer.status == 200
    async with session.get(f"{root_of(server)}/ws", headers={"Origin": root_of(server)}) as answer:
        assert await answer.text() == "a tab"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:1", "x"])
async def test_a_page_from_elsewhere_gets_no_tab(
    server: LoopbackServer, session: aiohttp.ClientSession, origin: str
) -> None:
    async with session.get(server.address) as answer:
        assert answer.status == 200
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(f"ws://127.0.0.1:{server.port}/ws", origin=origin)
    assert refused.value.status == 403


def test_every_server_has_a_token_of_its_own() -> None:
    assert LoopbackServer("true", 8000).address != LoopbackServer("true", 8000).address


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_report_opens_in_a_browser_and_asks_for_nothing_else(page: Page, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra named report")
    shows = ["table", "curves", "landscape", "comparison"]
    make_study(tmp_path / "logs", (Example("small steps", ("optimizer.lr=0.01",), 0.05, hits=350),), shows=shows)
    report = tmp_path / "report.html"
    write_report(find_either(tmp_path / "logs", "example"), tmp_path / "logs", report, False)
    await page.call("Network.enable")
    await page.call("Page.navigate", url=report.as_uri())

    async def is_there() -> bool:
        state = 'document.readyState + " " + document.querySelectorAll("svg, img").length'
        answer = await page.call("Runtime.evaluate", expression=state)
        done, _, charts = str(answer["result"].get("value")).partition(" ")
        return done == "complete" and charts.isdigit() and int(charts) > 2

    await until(is_there, lambda: "the report does not show")
    asked = [address for address in page.requested if not address.startswith("data:")]
    assert asked == [report.as_uri()]
