"""Golden screens: what every page shows at three sizes, as text, in the folder goldens.

`TORCHDECK_UPDATE_GOLDENS=1 uv run pytest -k golden_screens` writes them anew; read the difference before you keep it.
Without colours a page shows what its golden does, but for the page bar and the charts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from app_driver import form_row, screen_text, until
from example_runs import Example, at_work, gpus, make_example_runs, make_run_on, make_study
from textual.pilot import Pilot
from textual.widgets import Input

from torchdeck.core.devices.hardware import Machine
from torchdeck.core.runs.reader import EventReader
from torchdeck.tui.app.app import Torchdeck
from torchdeck.tui.live.page import LivePage
from torchdeck.tui.state.feed import Feed
from torchdeck.tui.state.messages import StudyRequested
from torchdeck.tui.widgets.chart import Chart

GOLDENS = Path(__file__).parent / "goldens"
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}
CASES = [("80x24", "dark"), ("80x24", "ascii"), ("120x40", "dark"), ("120x40", "ascii"), ("200x60", "dark")]
"""Pages in ASCII differ in their signs alone, which two sizes show."""
PAGES = ("setup", "live", "runs", "compare", "analyze")
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs that are the same wherever the tests run."""
    folder = tmp_path_factory.mktemp("screens") / "logs"
    make_example_runs(folder, NOW)
    return folder


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the zone of the reader."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def golden(name: str, shown: str) -> None:
    """Hold what is shown against the golden of that name, or write it."""
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("TORCHDECK_UPDATE_GOLDENS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown + "\n", encoding="utf-8")
    assert shown + "\n" == path.read_text(encoding="utf-8")


CHART_ROW = re.compile(r"│ {4}│|┤|╭")


def check_without_color(name: str, shown: str, chosen: str, legend: str) -> None:
    """Hold what is shown without colours against the golden that has them: lines are told apart by letters."""
    rows, colored = (text.splitlines() for text in (shown, (GOLDENS / f"{name}-dark.txt").read_text(encoding="utf-8")))
    assert f"[{chosen}]" in rows[0]
    differing = [row for row, other in zip(rows[1:], colored[1:], strict=True) if row != other]
    assert [row for row in differing if not CHART_ROW.search(row)] == []
    assert legend in shown
    assert bool(legend) == any("━" in row for row in colored if row.startswith("╭"))
    assert not any("━" in row for row in rows if row.startswith("╭"))


def prepare(app: Torchdeck, page: str, logs: Path) -> None:
    """What the pages share, as the goldens show it."""
    workspace = app.workspace
    workspace.now = lambda: NOW
    runs = sorted(folder.name for folder in logs.iterdir())
    workspace.marked[:] = runs
    workspace.chosen = runs[0]
    if page == "live":
        watch(app, logs / runs[1])


class ActiveFeed(Feed):
    """Of a run that trains on for as long as the test looks."""

    over = False  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]


def watch(app: Torchdeck, run: Path) -> None:
    """The Live page shows what a run said so far."""
    events = list(EventReader(run).read())
    app.workspace.feed = ActiveFeed(lambda: iter(events), lambda *_: None, own=False)
    app.workspace.feed.iterate()


async def bring_up(app: Torchdeck, pilot: Pilot[None], page: str) -> None:
    """Put a page into the state that its golden shows."""
    await until(pilot, lambda: app.current_mode == page)
    if page == "setup":
        # A machine with a GPU would plan for that.
        row = await form_row(app, pilot, "training.device")
        row.query_one(Input).value = "cpu"


def settled(app: Torchdeck) -> Callable[[], bool]:
    """True once the screen has shown the same for a few looks."""
    seen: list[str] = []

    def same() -> bool:
        drawing = any(chart.waiting for chart in app.screen.query(Chart))
        seen.append("" if drawing else screen_text(app).strip())
        return len(seen) > 5 and seen[-1] != "" and len(set(seen[-5:])) == 1

    return same


async def page_screen(app: Torchdeck, logs: Path, page: str, size: str) -> str:
    """What a page shows once it has come to rest."""
    prepare(app, page, logs)
    async with app.run_test(size=SIZES[size]) as pilot:
        await bring_up(app, pilot, page)
        await until(pilot, lambda: "working out" not in screen_text(app) and "reading" not in screen_text(app))
        await until(pilot, settled(app))
        return screen_text(app)


@pytest.mark.parametrize(("size", "look"), CASES)
@pytest.mark.parametrize("page", PAGES)
async def test_a_page_looks_as_it_should(
    make_app: Callable[..., Torchdeck], logs: Path, page: str, size: str, look: str
) -> None:
    shown = await page_screen(make_app(logs, ascii_only=look == "ascii", page=page), logs, page, size)
    if look == "ascii":
        assert shown.isascii()
    golden(f"{page}-{size}-{look}", shown)


@pytest.mark.parametrize(
    ("page", "chosen", "legend"),
    [
        ("setup", "1 Setup", ""),
        ("live", "2 Live ●", "b best aaaa  t train  e test"),
        ("runs", "3 Runs", "t train  e test"),
        ("compare", "4 Compare", ""),
        ("analyze", "5 Analyze", ""),
    ],
)
async def test_a_page_without_colors_says_the_same(
    make_app: Callable[..., Torchdeck],
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    chosen: str,
    legend: str,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = await page_screen(make_app(logs, page=page), logs, page, "120x40")
    check_without_color(f"{page}-120x40", shown, chosen, legend)


@pytest.mark.parametrize(("size", "look"), CASES)
async def test_the_choice_of_devices_looks_as_it_should(
    make_app: Callable[..., Torchdeck], logs: Path, size: str, look: str
) -> None:
    app = make_app(logs, ascii_only=look == "ascii", page="setup")
    prepare(app, "setup", logs)
    app.workspace.machine = lambda: Machine(16, ("NVIDIA A100-SXM4-80GB",) * 4)
    async with app.run_test(size=SIZES[size]) as pilot:
        await bring_up(app, pilot, "setup")
        row = await form_row(app, pilot, "training.device")
        row.focus_editor()
        row.query_one(Input).value = "cpu:2"
        # The form scrolls there, which it would not end under the dialog.
        await until(pilot, lambda: all(text in screen_text(app) for text in ("cpu:2", "batch 64 = 2 x 32")))
        await until(pilot, settled(app))
        await pilot.press("enter")
        await until(pilot, lambda: "cuda:3" in screen_text(app))
        await until(pilot, settled(app))
        shown = screen_text(app)
    if look == "ascii":
        assert shown.isascii()
    golden(f"setup-devices-{size}-{look}", shown)


RANKS = {"ranks": gpus(4), "hosts": gpus(8, ("node1", "node2"))}


@pytest.mark.parametrize(("size", "look"), CASES)
@pytest.mark.parametrize("ranks", RANKS)
async def test_a_run_on_several_devices_looks_as_it_should(
    make_app: Callable[..., Torchdeck], tmp_path: Path, ranks: str, size: str, look: str
) -> None:
    logs = tmp_path / "logs"
    run = logs / make_run_on(logs, NOW, RANKS[ranks])
    app = make_app(logs, ascii_only=look == "ascii", page="live")
    app.workspace.now = lambda: NOW
    watch(app, run)
    async with app.run_test(size=SIZES[size]) as pilot:
        await bring_up(app, pilot, "live")
        await until(pilot, settled(app))
        shown = screen_text(app)
    if look == "ascii":
        assert shown.isascii()
    golden(f"live-{ranks}-{size}-{look}", shown)


STUDY = (
    Example("lr=0.01", ("optimizer.lr=0.01",), hits=355),
    Example("lr=0.01 seed=2", ("optimizer.lr=0.01", "training.seed=2"), 0.14, hits=351),
    Example("lr=0.1", ("optimizer.lr=0.1",), 0.6, hits=330),
    Example(
        "lr=1", ("optimizer.lr=1",), 1.2, 3, state="pruned", reason="worse than the median at epoch 3 by 9.1 points"
    ),
    Example("lr=9", ("optimizer.lr=9",), 2.0, 1, state="failed", reason="out of memory"),
    Example("lr=2", ("optimizer.lr=2",), state="waiting", begun=False),
)
VIEWS = {"study-curves": ["curves"], "study-landscape": ["landscape"], "study-words": []}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study for each view, the same wherever the tests run."""
    logs = tmp_path_factory.mktemp("studies") / "logs"
    for number, (name, shows) in enumerate(VIEWS.items()):
        make_study(logs / name, STUDY, name=name, shows=["table", *shows], tail=f"s{number}zz", kind="grid")
    return logs


async def study_screen(app: Torchdeck, view: str, size: str) -> str:
    """What the list of studies, or the page of one, shows once it has come to rest."""
    app.workspace.now = lambda: NOW + 7200
    async with app.run_test(size=SIZES[size]) as pilot:
        await bring_up(app, pilot, "runs")
        await pilot.press("S")
        await until(pilot, lambda: "An example" in screen_text(app))
        if view != "studies":
            await pilot.press("enter")
            await until(pilot, lambda: "6 runs" in screen_text(app))
        await until(pilot, settled(app))
        return screen_text(app)


@pytest.mark.parametrize(("size", "look"), CASES)
@pytest.mark.parametrize("view", [*VIEWS, "studies"])
async def test_a_study_looks_as_it_should(
    make_app: Callable[..., Torchdeck], studies: Path, view: str, size: str, look: str
) -> None:
    logs = studies / ("study-curves" if view == "studies" else view)
    shown = await study_screen(make_app(logs, ascii_only=look == "ascii", page="runs"), view, size)
    if look == "ascii":
        assert shown.isascii()
    golden(f"{view}-{size}-{look}", shown)


@pytest.mark.parametrize(
    ("view", "legend"),
    [
        ("study-curves", "l lr=0.01 ×2 min  r lr=0.01 ×2 max"),
        ("study-landscape", "l lenet ×4 min  e lenet ×4 max"),
        ("study-words", ""),
        ("studies", ""),
    ],
)
async def test_a_study_without_colors_says_the_same(
    make_app: Callable[..., Torchdeck], studies: Path, monkeypatch: pytest.MonkeyPatch, view: str, legend: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    logs = studies / ("study-curves" if view == "studies" else view)
    shown = await study_screen(make_app(logs, page="runs"), view, "120x40")
    check_without_color(f"{view}-120x40", shown, "3 Runs", legend)


AT_WORK = (
    *STUDY[:2],
    Example("lr=0.1", ("optimizer.lr=0.1",), 0.6, 3, state="running", place="cuda 0 on node1"),
    Example("lr=0.3", ("optimizer.lr=0.3",), 0.7, 5, state="running", place="cuda 1 on node1"),
    Example("lr=1", ("optimizer.lr=1",), state="running", begun=False, place="job 1234_3 pending (Resources)"),
    *STUDY[4:],
)


@pytest.mark.parametrize(("size", "look"), CASES)
async def test_a_study_at_work_looks_as_it_should(
    make_app: Callable[..., Torchdeck], tmp_path: Path, size: str, look: str
) -> None:
    study = make_study(tmp_path / "logs", AT_WORK)
    app = make_app(tmp_path / "logs", ascii_only=look == "ascii", page="runs")
    app.workspace.now = lambda: NOW + 7200
    with at_work(study):
        async with app.run_test(size=SIZES[size]) as pilot:
            app.post_message(StudyRequested(study))
            await until(pilot, lambda: "Workers" in screen_text(app))
            await until(pilot, settled(app))
            shown = screen_text(app)
    if look == "ascii":
        assert shown.isascii()
    golden(f"study-at-work-{size}-{look}", shown)


async def test_the_live_page_without_a_run_says_what_to_do(make_app: Callable[..., Torchdeck]) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        app.action_show("live")
        await until(pilot, lambda: isinstance(app.screen, LivePage) and "No active run" in screen_text(app))
