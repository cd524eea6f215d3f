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
from example_runs import Example, make_study
from repository import ROOT

from torchdeck.core.studies.store import find_either
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
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/[\w-]{40,}/")
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


async def test_the_page_shows_the_app_takes_keys_and_asks_only_its_own_server(page: Page, address: str) -> None:
    await answers(address)
    await page.call("Network.enable")
    await page.open(address)
    await page.shows("torchdeck", "1 Setup", "Enter edits the highlighted preset", "on cpu")

    # Keys go to the terminal once it was clicked; until then F5 loads the page anew.
    await page.click(1000, 8)
    await page.call("Input.insertText", text="3")
    await page.shows("No runs yet")
    root = address.rsplit("/", 2)[0]
    assert any("RobotoMono" in asked for asked in page.requested)
    assert [asked for asked in page.requested if not asked.startswith(root)] == []


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
