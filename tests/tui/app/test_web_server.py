"""The server of the app in a browser: who gets in, what a browser may send, and tabs that close or stand still."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import web
from fault_counts import Faults
from polling import until
from repository import ROOT
from textual_serve.server import Server

from torchdeck.core.events import RunCompleted
from torchdeck.core.runs.commands import send_and_wait
from torchdeck.core.runs.index import list_runs
from torchdeck.core.runs.reader import load_record
from torchdeck.core.utils.locks import is_held
from torchdeck.tui.app import web_server
from torchdeck.tui.app.start import serve_app
from torchdeck.tui.app.web_server import MAX_KEYS, MAX_SIZE, MIN_SIZE, LoopbackServer, Tab

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/[\w-]{40,}/")
PATIENT_SECONDS = 200.0
"""For what starts processes that load torch, on a machine that has much else to do."""
# Speaks the protocol of a served app and writes down what happens to it; asked by the key "f" it floods the browser.
FAKE_APP = """
import json, os, signal, sys
log = open(sys.argv[1], "w", buffering=1)
print(json.dumps(["size", os.environ["COLUMNS"], os.environ["ROWS"]]), file=log)
def hang_up(*_):
    print(json.dumps(["hang-up"]), file=log)
    if "hands over for long" in sys.argv:
        return
    os.write(1, b"D" + (4_000_000).to_bytes(4, "big") + b"y" * 4_000_000)
    print(json.dumps(["left"]), file=log)
    os._exit(0)
signal.signal(signal.SIGHUP, hang_up)
os.write(1, b"__GANGLION__\\n")
print(json.dumps(["ready"]), file=log)
while head := sys.stdin.buffer.read(5):
    body = sys.stdin.buffer.read(int.from_bytes(head[1:], "big"))
    if head[:1] == b"D":
        print(json.dumps(["keys", len(body), body[:9].decode()]), file=log)
        while body == b"f":
            os.write(1, b"D" + (65536).to_bytes(4, "big") + b"x" * 65536)
    else:
        print(json.dumps([*json.loads(body).values()]), file=log)
        if json.loads(body)["type"] == "quit":
            break
print(json.dumps(["ended"]), file=log)
"""


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FakeApp:
    """What the app of a tab was told."""

    def __init__(self, folder: Path) -> None:
        self._log, script = folder / "told", folder / "app.py"
        script.write_text(FAKE_APP)
        self.command = shlex.join([sys.executable, "-S", str(script), str(self._log)])

    def told(self) -> list[list[Any]]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]

    async def hears(self, *wanted: list[Any]) -> list[list[Any]]:
        """Wait until it was told all of it."""
        async with asyncio.timeout(30):
            while not all(item in self.told() for item in wanted):
                await asyncio.sleep(0.02)
        return self.told()


@pytest.fixture
def fake_app(tmp_path: Path) -> FakeApp:
    return FakeApp(tmp_path)


@pytest.fixture
async def server(unused_port: int, fake_app: FakeApp) -> AsyncIterator[LoopbackServer]:
    """A server that answers in this process."""
    made = LoopbackServer(fake_app.command, unused_port)
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


# -- who gets in


@pytest.mark.parametrize("path", ["/", "/ws", "/static/js/textual.js", "/download/x", "/{guess}/", "/{guess}/ws", "//"])
async def test_without_the_secret_path_there_is_nothing(
    server: LoopbackServer, session: aiohttp.ClientSession, path: str
) -> None:
    secret = server.address.split("/")[3]
    for guess in ("", "x" * len(secret), secret[:-1]):
        for query in ("", f"?token={secret}"):
            address = f"http://127.0.0.1:{server.port}{path.format(guess=guess)}{query}"
            async with session.get(address, headers={"Cookie": f"torchdeck-{server.port}={secret}"}) as answer:
                assert answer.status == 404
                assert secret not in await answer.text()


async def test_the_page_leaves_no_cookie_and_loads_nothing_from_elsewhere(
    server: LoopbackServer, session: aiohttp.ClientSession
) -> None:
    async with session.get(server.address + "?fontsize=20") as answer:
        page = await answer.text()
        assert (answer.status, 'data-font-size="20"' in page) == (200, True)
        # Cookies know no ports: another account's server on this machine would be sent it.
        assert "Set-Cookie" not in answer.headers
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert re.findall(r'(?:src|href)="?(?!http://127)[^"]*//', page) == []
    loaded = re.findall(r'(?:src|href)="(http[^"]+)"|url\("([^"]+)"\)', page)
    assert any("RobotoMono" in own for pair in loaded for own in pair)
    for address in (found for pair in loaded for found in pair if found):
        async with session.get(f"http://127.0.0.1:{server.port}{address}" if address[0] == "/" else address) as answer:
            assert answer.status == 200, address


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:1", "x"])
async def test_a_page_from_elsewhere_gets_no_tab(
    server: LoopbackServer, session: aiohttp.ClientSession, origin: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(f"{server.address}ws", origin=origin)
    assert refused.value.status == 403


def test_every_server_has_an_address_of_its_own() -> None:
    assert LoopbackServer("true", 8000).address != LoopbackServer("true", 8000).address


def test_only_this_machine_can_reach_the_server(
    unused_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Server] = []
    monkeypatch.setattr(Server, "serve", lambda server: made.append(server))
    serve_app(unused_port, tmp_path / "logs", tmp_path / "data")
    assert (made[0].host, made[0].port) == ("127.0.0.1", unused_port)


def test_a_taken_port_is_told_in_one_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "torchdeck.tui.cli", "serve", "--port", str(port)]
        told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 2
    assert (
        told.stderr == f"error: cannot listen on port {port} (Address already in use)\n  choose another with --port\n"
    )
    assert told.stdout == ""


# -- what a browser may send


async def test_sizes_and_keys_are_bounded_where_they_arrive(
    server: LoopbackServer, session: aiohttp.ClientSession, fake_app: FakeApp, faults: Faults
) -> None:
    wide, high = MAX_SIZE
    sizes: list[tuple[Any, Any]] = [(100_000, 100_000), (-5, 0), (10**400, 24), (80.5, 24), ("80", 24), (None, [])]
    async with session.ws_connect(f"{server.address}ws?width=100000&height=-3") as tab:
        await fake_app.hears(["ready"])
        for width, height in sizes:
            await tab.send_json(["resize", {"width": width, "height": height}])
        for keys in ("k" * (MAX_KEYS + 1), "k" * 3_000_000, "k" * MAX_KEYS, "\ud800", 7):
            await tab.send_json(["stdin", keys])
        for message in ("[" * 100_000, "{}", "[]", "7", "[[]]", '["stdin"]', '["resize", 5]', '["?", 1]', "not json"):
            await tab.send_str(message)
        await tab.send_json(["stdin", "z"])
        told = await fake_app.hears(["keys", 1, "z"])
    faults("absurd messages of a browser", 20)
    assert told[0] == ["size", str(wide), str(MIN_SIZE[1])]
    assert [item[1:] for item in told if item[0] == "resize"] == [[wide, high], [*MIN_SIZE], [wide, 24]]
    assert [item[1] for item in told if item[0] == "keys"] == [MAX_KEYS, 1, 1]


# -- tabs that close or stand still


async def test_a_tab_that_is_closed_is_a_lost_terminal_to_its_app(
    server: LoopbackServer, session: aiohttp.ClientSession, fake_app: FakeApp, faults: Faults
) -> None:
    async with session.ws_connect(f"{server.address}ws"):
        await fake_app.hears(["ready"])
    # What it still draws is not waited for, and it is not asked to quit, which would stop its run.
    told = await fake_app.hears(["hang-up"], ["left"])
    faults("closed tabs", lost=int(["quit"] in told))
    assert ["quit"] not in told


async def test_so_is_one_whose_network_stands_still_while_the_app_draws(
    server: LoopbackServer,
    session: aiohttp.ClientSession,
    fake_app: FakeApp,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults,
) -> None:
    monkeypatch.setattr(web_server, "HEARTBEAT_SECONDS", 0.5)
    # It answers no ping, and reads nothing.
    tab = await session.ws_connect(f"{server.address}ws", autoping=False)
    await fake_app.hears(["ready"])
    await tab.send_json(["stdin", "f"])
    told = await fake_app.hears(["hang-up"], ["left"])
    faults("stalled tabs", lost=int(["quit"] in told))
    assert ["quit"] not in told
    await tab.close()


async def test_a_server_that_ends_has_its_apps_end(
    server: LoopbackServer, session: aiohttp.ClientSession, fake_app: FakeApp
) -> None:
    async with session.ws_connect(f"{server.address}ws") as tab:
        await fake_app.hears(["ready"])
        ending = asyncio.create_task(server.on_shutdown(web.Application()))
        assert (await tab.receive()).type is aiohttp.WSMsgType.CLOSE
        await ending
    assert ["hang-up"] not in await fake_app.hears(["quit"])


async def test_but_for_those_that_hand_their_run_over(
    server: LoopbackServer,
    session: aiohttp.ClientSession,
    fake_app: FakeApp,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults,
) -> None:
    made: list[Tab] = []
    start = Tab.start
    monkeypatch.setattr(Tab, "start", lambda tab, *size: (made.append(tab), start(tab, *size))[1])
    server.command += " 'hands over for long'"
    async with session.ws_connect(f"{server.address}ws"):
        await fake_app.hears(["ready"])
    await fake_app.hears(["hang-up"])
    await server.on_shutdown(web.Application())
    # The end of the server closes its pipes.
    made[0].stdin.close()
    told = await fake_app.hears(["ended"])
    faults("servers that end while a run is handed over", lost=int(["quit"] in told))
    assert ["quit"] not in told


@pytest.fixture
def serve(tmp_path: Path, unused_port: int) -> Iterator[Callable[[], tuple[psutil.Popen, str]]]:
    """Starts `torchdeck serve` on the test's own folders; what is left of all that it started is killed."""
    begun: list[psutil.Popen] = []
    own = {"HOME": str(tmp_path), "TORCHDECK_STATE": str(tmp_path / "state"), "TORCHDECK_PRESETS": str(tmp_path)}
    environment = {**os.environ, **own, "TORCHDECK_LOGS": str(tmp_path / "logs"), "OMP_NUM_THREADS": "1"}

    def start() -> tuple[psutil.Popen, str]:
        # As people start a server that is to stay: it and its apps inherit that hang-ups are ignored.
        command = ["nohup", sys.executable, "-m", "torchdeck.tui.cli", "serve", "--port", str(unused_port)]
        printed = tmp_path / "serve.log"
        with open(printed, "wb") as output:
            begun.append(psutil.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environment))
        until(lambda: ADDRESS.search(printed.read_text()), printed.read_text, PATIENT_SECONDS)
        return begun[-1], ADDRESS.findall(printed.read_text())[0]

    yield start
    for process in begun:
        for each in (*process.children(recursive=True), process):
            each.kill()
        process.wait()
    for lock in tmp_path.glob("logs/*/run.lock"):
        if is_held(lock):
            psutil.Process(json.loads(lock.read_bytes())["pid"]).kill()


async def shows(tab: aiohttp.ClientWebSocketResponse, text: str) -> None:
    """Wait until an app draws some text."""
    seen = b""
    async with asyncio.timeout(PATIENT_SECONDS):
        while text.encode() not in seen:
            message = await tab.receive()
            assert message.type is aiohttp.WSMsgType.BINARY or message.type is aiohttp.WSMsgType.TEXT, message
            seen += message.data if isinstance(message.data, bytes) else b""


@pytest.mark.timeout(600)
async def test_a_run_outlives_its_tab_and_the_address_shows_it_again(
    serve: Callable[[], tuple[psutil.Popen, str]], session: aiohttp.ClientSession, tmp_path: Path, faults: Faults
) -> None:
    server, address = serve()
    async with session.ws_connect(f"{address}ws?width=120&height=40") as tab:
        await shows(tab, "starts it")
        await tab.send_json(["stdin", "\x1b[15~"])
        await shows(tab, "Accuracy")
        async with asyncio.timeout(PATIENT_SECONDS):
            while not (rows := list_runs(tmp_path / "logs")) or not load_record(rows[0].folder).epochs:
                await asyncio.sleep(0.05)
        folder = rows[0].folder
        # Paused, it cannot come to its own end.
        await tab.send_json(["stdin", "p"])
        await shows(tab, "paused")
        (app,) = server.children()
    async with session.ws_connect(f"{address}ws?width=120&height=40") as tab:
        await shows(tab, folder.name)
        async with asyncio.timeout(PATIENT_SECONDS):
            while load_record(folder).attempt < 2 or load_record(folder).status == "running":
                await asyncio.sleep(0.05)
        status = load_record(folder).status
        faults("closed tabs", lost=int(status != "paused"))
        assert status == "paused"
        until(lambda: not app.is_running(), seconds=PATIENT_SECONDS)
        # An app whose server was killed leaves, too; the run is in neither.
        (app,) = server.children()
        server.kill()
        until(lambda: not app.is_running(), seconds=PATIENT_SECONDS)
    last = send_and_wait(folder, "stop")
    assert isinstance(last, RunCompleted)
    assert load_record(folder).checkpoints[-1].step == last.step
    # The address is the key: it stands in the line that prints it, and in no other.
    assert (tmp_path / "serve.log").read_text().count(address.split("/")[3]) == 1
