"""What tests share: small configs, a clock that only moves when it is read, and runs made in a temporary folder."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fault_counts import Faults
from repository import ROOT
from small_runs import SMALL, Clock, changed, only_run

from torchdeck.core.utils.gc_tuning import collect_rarely

if TYPE_CHECKING:
    # What only deals out the tests reads this file, too: torch and the app, seconds to import, are for who runs them.
    from fork_pool import ForkPool
    from pty_harness import Terminals

    from torchdeck.core.config import ExperimentConfig
    from torchdeck.core.control import Control
    from torchdeck.core.events import RunEvent
    from torchdeck.core.session.session import SessionContext
    from torchdeck.tui.app.app import Torchdeck
    from torchdeck.tui.state.messages import Mode

# A shell's background has its processes ignore Ctrl-C, and so would those that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_DATA = Path(os.environ.get("TORCHDECK_TEST_DATA", ROOT / "data"))


@pytest.fixture
def faults(record_property: Callable[[str, object], None]) -> Faults:
    """Tell of injected faults, before the test asserts that nothing was lost."""

    def tell(kind: str, count: int = 1, *, lost: int = 0, crashes: int = 0) -> None:
        record_property("faults", (kind, count, lost, crashes))

    return tell


@pytest.fixture
def soak() -> int:
    """How many times as many random faults to inject: 1, more where `make soak` asks."""
    return int(os.environ.get("TORCHDECK_SOAK", "1"))


def pytest_configure(config: pytest.Config) -> None:
    """Without `-m`, leave out what needs a cluster, and the long tests but where files or folders are named."""
    # An eighth of the tests' time, and a second at their end.
    collect_rarely()
    gc.freeze()
    if not config.option.markexpr:
        named = config.args_source is pytest.Config.ArgsSource.ARGS
        config.option.markexpr = "not slurm and not ray and not rehearsal" + ("" if named else " and not long")
    if sys.dont_write_bytecode:
        # Each process that tests start would compile all of torch anew.
        del os.environ["PYTHONDONTWRITEBYTECODE"]
        os.environ["PYTHONPYCACHEPREFIX"] = str(config.rootpath / ".pytest_cache" / "bytecode")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of tests/faults and tests/null_cuda is long."""
    for item in items:
        if {ROOT / "tests" / "faults", ROOT / "tests" / "null_cuda"} & set(item.path.parents):
            item.add_marker("long")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for other processes a sixth of their time."""
    return (os.cpu_count() or 1) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all faults that were injected, whichever process ran the test."""
    told = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", [])
        if name == "faults" and report.when == "call"
    ]
    if told:
        kinds: Counter[str] = Counter()
        for kind, count, _, _ in told:
            kinds[kind] += count
        lost, crashes = (sum(item[place] for item in told) for place in (2, 3))
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        terminalreporter.write_line(f"faults injected: {counts}: lost {lost}, crashes {crashes}")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and a busy machine punishes them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _own_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test never meets the presets of whoever runs it."""
    monkeypatch.setenv("TORCHDECK_PRESETS", str(tmp_path / "presets"))


@pytest.fixture
def small() -> Callable[..., ExperimentConfig]:
    """Makes a config that trains in a fraction of a second, changed by `{"section.key": value}`."""
    from torchdeck.core.config import parse_config

    return lambda changes=None: parse_config(changed(SMALL, changes or {}))


@pytest.fixture
def context(tmp_path: Path) -> SessionContext:
    """A data folder of the test's own, a fake clock, and an event for every step."""
    from torchdeck.core.session.session import SessionContext

    return SessionContext(tmp_path / "data", clock=Clock(), now=Clock(), sample_every=0.0, wait=lambda _: None)


@pytest.fixture
def train(tmp_path: Path, context: SessionContext) -> Callable[..., list[RunEvent]]:
    """Runs a config to its end and gives its events; the logs are in `tmp_path / "logs"`."""
    from torchdeck.core.runs.label import Label
    from torchdeck.core.session.session import run

    def go(config: ExperimentConfig, control: Control | None = None, **label: Any) -> list[RunEvent]:
        return list(run(config, tmp_path / "logs", control, context=context, label=Label(**label)))

    return go


@pytest.fixture
def go_on(context: SessionContext) -> Callable[..., list[RunEvent]]:
    """Resumes the run of a folder to its end and gives the attempt's events."""
    from torchdeck.core.session.session import resume

    return lambda folder, control=None: list(resume(folder, control, context=context))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets; tests that need one that is not there are skipped."""
    return REAL_DATA


@pytest.fixture(scope="session")
def fork_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkPool]:
    """One for all tests, whichever process runs them."""
    from fork_pool import ForkPool

    mine = tmp_path_factory.getbasetemp()
    opened = ForkPool((mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "pool")
    yield opened
    opened.close()


@pytest.fixture
def forked_programs(fork_pool: ForkPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `python -m torchdeck...` is forked from the pool where it would be started, which takes seconds."""
    from forked_popen import forked_popen

    monkeypatch.setattr(subprocess, "Popen", forked_popen(lambda: fork_pool))


@pytest.fixture
def terminals(fork_pool: ForkPool, tmp_path: Path) -> Iterator[Terminals]:
    """Opens terminals and starts commands on them."""
    from pty_harness import Terminals

    opened = Terminals(fork_pool, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def the_run(tmp_path: Path) -> Callable[[], Path]:
    """The directory of the one run that was made."""
    return lambda: only_run(tmp_path / "logs")


@pytest.fixture
def make_app(tmp_path: Path) -> Callable[..., Torchdeck]:
    """Makes an app on the logs and data of a temporary folder, drawn as soon as something changes."""
    from torchdeck.core.runs.index import RunIndex
    from torchdeck.tui.app.app import Torchdeck
    from torchdeck.tui.state.preferences import Preferences
    from torchdeck.tui.state.refresh_rates import RefreshRates
    from torchdeck.tui.state.workspace import Workspace

    def make(
        logs: Path | None = None, *, theme: str = "torchdeck-dark", ascii_only: bool = False, page: Mode = "setup"
    ) -> Torchdeck:
        preferences, folder = Preferences(), logs or tmp_path / "logs"
        preferences.keep("theme", theme)
        workspace = Workspace(folder, tmp_path / "data", preferences, time.time, RunIndex(folder))
        return Torchdeck(workspace, refresh=RefreshRates(0.05, 0.05), ascii_only=ascii_only, page=page)

    return make
