"""Signals, and terminals that go away or stall, for a training in the app, one without a screen, and one that is
followed: the run is safely on disk, the terminal as it was found, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from fault_counts import Faults
from polling import until
from pty_harness import F5, Log, Pty, Terminals
from repository import ROOT
from small_runs import only_run

from torchdeck.core.events import CommandApplied, RunCompleted, RunStarted
from torchdeck.core.runs.commands import send_command
from torchdeck.core.runs.layout import is_locked
from torchdeck.core.runs.reader import load_record

Front = Literal["app", "headless"]
IN_TIME = 3.0
"""Seconds from a signal to the last event: the batch in hand and 1 s more, on a machine that does much else."""


def begin(terminals: Terminals, pty: Pty, front: Front, **how: Any) -> tuple[psutil.Process, Log]:
    """A training that has done a few epochs."""
    log = Log(terminals.logs)
    if front == "app":
        process = terminals.start(pty, "tui", **how)
        press_start(pty)
    else:
        process = terminals.start(pty, "run", "endless", **how)
    until(lambda: log.epochs() >= 2, lambda: pty.said[-2000:])
    return process, log


def press_start(pty: Pty) -> None:
    until(lambda: pty.shows("150,000 steps"), lambda: pty.said[-2000:])
    pty.press(F5)
    until(lambda: pty.shows("· running"), lambda: pty.said[-2000:])


def send(process: psutil.Process, number: int) -> None:
    process.send_signal(number)


def kill_the_pane(process: psutil.Process, pty: Pty, _: Log) -> None:
    """As tmux does: the terminal closes, and the shell that had it passes the hang-up on."""
    pty.hang_up()
    for number in (signal.SIGHUP, signal.SIGCONT):
        with suppress(psutil.NoSuchProcess):
            send(process, number)


def stall_and_terminate(process: psutil.Process, pty: Pty, log: Log) -> None:
    pty.stall()
    at = log.epochs()
    until(lambda: log.epochs() > at + 5)
    send(process, signal.SIGTERM)


def twice(process: psutil.Process, _: Pty, __: Log) -> None:
    send(process, signal.SIGTERM)
    until(lambda: not psutil.pid_exists(process.pid) or process.status() == psutil.STATUS_ZOMBIE or _again(process))


def _again(process: psutil.Process) -> bool:
    send(process, signal.SIGTERM)
    return False


Strike = Callable[[psutil.Process, Pty, Log], None]
KINDS: dict[str, tuple[Strike, int, str]] = {
    "TERM": (lambda process, _, __: send(process, signal.SIGTERM), 143, "signal SIGTERM"),
    "INT": (lambda process, _, __: send(process, signal.SIGINT), 130, "signal SIGINT"),
    "HUP": (lambda process, _, __: send(process, signal.SIGHUP), 129, "signal SIGHUP"),
    "closed": (lambda _, pty, __: pty.hang_up(), 129, "signal SIGHUP"),
    "killed pane": (kill_the_pane, 129, "signal SIGHUP"),
    "stall and TERM": (stall_and_terminate, 143, "signal SIGTERM"),
    "TERM twice": (twice, 143, "signal SIGTERM"),
}


def taken_up(log: Log) -> bool:
    """Whether another process goes on with the run where this one left it."""
    handed = [event for event in log.read() if isinstance(event, RunCompleted)]
    begun = [event for event in log.events if isinstance(event, RunStarted)]
    return bool(handed) and len(begun) == 2 and begun[1].resumed_from == handed[0].step


@pytest.mark.parametrize("front", ["app", "headless"])
@pytest.mark.parametrize("kind", ["HUP", "closed"])
def test_a_lost_terminal_hands_the_run_over(terminals: Terminals, faults: Faults, kind: str, front: Front) -> None:
    pty = terminals.pty()
    # One of the four starts the process that goes on as it would be started, which takes seconds.
    change = "" if (kind, front) == ("closed", "headless") else "programs are forked"
    process, log = begin(terminals, pty, front, change=change)
    KINDS[kind][0](process, pty, log)
    ended = terminals.code(process)
    until(lambda: taken_up(log), lambda: log.events[-5:])
    folder = only_run(terminals.logs)
    send_command(folder, "stop")
    until(lambda: is_locked(folder) is False, lambda: log.read()[-5:])
    faults("signals", crashes=int(ended != 0))
    assert ended == 0
    assert pty.far < 0 or not pty.damage()
    assert load_record(folder).status == "stopped"


@pytest.mark.parametrize("front", ["app", "headless"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_safe_and_the_terminal_as_it_was_found(
    terminals: Terminals, faults: Faults, kind: str, front: Front
) -> None:
    strike, code, reason = KINDS[kind]
    pty = terminals.pty()
    process, log = begin(terminals, pty, front, TORCHDECK_ON_HANGUP="stop")
    struck = time.time()
    strike(process, pty, log)
    ended = terminals.code(process)
    pty.read_on()
    log.read()
    last = log.events[-1]
    if kind == "TERM twice" and ended == -signal.SIGTERM:
        # The last one came when the interpreter was at its end; a shell calls both the same.
        ended = code
    if kind == "TERM twice" and isinstance(last, CommandApplied):
        # It left at the second, before the checkpoint.
        faults("signals", crashes=int(ended != code))
        assert (ended, load_record(only_run(terminals.logs)).status) == (code, "died")
        return
    faults("signals", lost=int(not isinstance(last, RunCompleted)), crashes=int(ended != code))
    assert ended == code
    assert isinstance(last, RunCompleted)
    assert (last.status, last.reason) == ("stopped", reason)
    assert last.t - struck < IN_TIME or kind == "stall and TERM"
    assert load_record(only_run(terminals.logs)).checkpoints[-1].step == last.step
    if pty.far >= 0:
        until(lambda: not pty.damage(), pty.damage, 5)


def test_without_signal_handling_a_signal_costs_the_run_and_the_terminal(terminals: Terminals) -> None:
    pty = terminals.pty()
    process, log = begin(terminals, pty, "app", change="without signal handling")
    send(process, signal.SIGTERM)
    assert terminals.code(process) == -signal.SIGTERM
    assert pty.damage()
    assert not isinstance(log.read()[-1], RunCompleted)


def test_a_stalled_terminal_slows_nothing_and_shows_all_when_it_is_read_again(
    terminals: Terminals, faults: Faults
) -> None:
    pty = terminals.pty()
    process, log = begin(terminals, pty, "app")
    pty.stall()
    at, memory = log.epochs(), process.memory_info().rss
    until(lambda: log.epochs() >= at + 30)
    grown = process.memory_info().rss - memory
    pty.press(b"p")
    until(lambda: any(isinstance(event, CommandApplied) for event in log.read()))
    seen = len(pty.said)
    pty.read_on()
    # What it shows is of now, and whole: the bars above, the charts, the keys below.
    whole = ("5 Analyze", "· paused", "Loss", "Accuracy", "Quit")
    until(lambda: all(text in "\n".join(pty.screen()) for text in whole), lambda: "\n".join(pty.screen()))
    send(process, signal.SIGTERM)
    faults("signals")
    assert terminals.code(process) == 143
    assert grown < 32 * 2**20
    assert len(pty.said) - seen < 2**19


def test_a_stalled_terminal_does_not_hold_up_the_end_of_a_run(terminals: Terminals) -> None:
    pty = terminals.pty()
    process, log = begin(terminals, pty, "headless")
    pty.stall()
    send_command(only_run(terminals.logs), "stop-after-epoch")
    code = terminals.code(process)
    pty.read_on()
    assert code == 0
    assert isinstance(log.read()[-1], RunCompleted)
    until(lambda: not pty.damage(), pty.damage, 5)


def test_a_shell_can_take_the_terminal_and_give_it_back(terminals: Terminals) -> None:
    pty = terminals.pty()
    process = terminals.start(pty, "tui")
    until(lambda: pty.shows("150,000 steps"), lambda: pty.said[-2000:])
    threads = process.num_threads()
    # Continued without having been suspended, as at a hang-up.
    for times in range(2, 5):
        send(process, signal.SIGCONT)
        until(lambda times=times: pty.said.count(b"\x1b[?1049h") == times)
    send(process, signal.SIGTSTP)
    until(lambda: process.status() == psutil.STATUS_STOPPED)
    until(lambda: not pty.damage(), pty.damage)
    at = len(pty.said)
    send(process, signal.SIGCONT)
    until(lambda: "Endless" in "\n".join(pty.screen(at)), lambda: "\n".join(pty.screen(at)))
    until(lambda: process.num_threads() == threads, process.threads)
    send(process, signal.SIGTERM)
    assert terminals.code(process) == 143
    assert not pty.damage()


def used(process: psutil.Process) -> dict[int, float]:
    """The processor time of each thread."""
    return {thread.id: thread.user_time + thread.system_time for thread in process.threads()}


def test_a_run_that_ignores_hang_ups_outlives_its_terminal(terminals: Terminals, faults: Faults) -> None:
    pty = terminals.pty()
    process, log = begin(terminals, pty, "app", ignored=["SIGHUP"])
    pty.hang_up()
    at = log.epochs()
    until(lambda: log.epochs() >= at + 2)
    before, since = used(process), time.monotonic()
    until(lambda: log.epochs() >= at + 15)
    passed = time.monotonic() - since
    # What reads the keyboard would spin on a terminal that is gone.
    busy = sorted(seconds - before.get(thread, 0) for thread, seconds in used(process).items())
    assert all(seconds < passed / 3 for seconds in busy[:-1])
    send_command(only_run(terminals.logs), "stop-after-epoch")
    code = terminals.code(process)
    faults("signals", crashes=int(code != 0))
    assert code == 0
    assert isinstance(log.read()[-1], RunCompleted)


def test_a_run_that_is_only_followed_goes_on(terminals: Terminals, faults: Faults) -> None:
    trained, followed = terminals.pty(), terminals.pty()
    training, log = begin(terminals, trained, "headless")
    follower = terminals.start(followed, "tui", "--page", "runs")
    until(lambda: followed.shows("running"), lambda: followed.said[-2000:])
    followed.press(b"w")
    until(lambda: followed.shows("· running"), lambda: followed.said[-2000:])
    send(follower, signal.SIGTERM)
    assert terminals.code(follower) == 143
    assert not followed.damage()
    at = log.epochs()
    until(lambda: log.epochs() > at + 2)
    send(training, signal.SIGTERM)
    assert terminals.code(training) == 143
    faults("signals", 2)


def test_a_key_that_fails_says_so_and_stops_neither_the_app_nor_its_run(terminals: Terminals, faults: Faults) -> None:
    pty = terminals.pty()
    process, log = begin(terminals, pty, "app", change="crashes at ?")
    pty.press(b"?")
    until(lambda: pty.shows("internal error"), lambda: pty.said[-2000:])
    seen = len(log.read())
    until(lambda: len(log.read()) > seen, lambda: log.read()[-1])
    process.terminate()
    code = terminals.code(process)
    faults("failures of the screen", crashes=int(code != 143))
    assert code == 143
    assert not pty.damage()
    last = log.read()[-1]
    assert isinstance(last, RunCompleted)
    assert last.status == "stopped"
    assert b"nobody's business" not in bytes(pty.said)


def test_a_terminal_that_cannot_draw_is_refused(terminals: Terminals) -> None:
    pty = terminals.pty()
    assert terminals.code(terminals.start(pty, "tui", TERM="dumb")) == 2
    until(lambda: pty.shows("torchdeck run PRESET"), lambda: pty.said)
    assert not pty.damage()


def test_a_terminal_of_any_size_may_change_it_as_fast_as_it_likes(terminals: Terminals) -> None:
    pty, log = terminals.pty(0, 0), Log(terminals.logs)
    process = terminals.start(pty, "tui")
    until(lambda: pty.shows("Setup"), lambda: pty.said)
    pty.resize(40, 120)
    press_start(pty)
    until(lambda: log.epochs() >= 2)
    for number in range(60):
        pty.resize((number * 7) % 61, (number * 37) % 203)
    pty.resize(24, 80)
    at = len(pty.said)
    until(lambda: "· running" in "\n".join(pty.screen(at)), lambda: "\n".join(pty.screen(at)))
    send(process, signal.SIGTERM)
    assert terminals.code(process) == 143
    assert isinstance(log.read()[-1], RunCompleted)


@pytest.mark.parametrize("arguments", [["presets"], ["runs"], ["settings", "--json"], ["studies"], ["data", "list"]])
def test_output_that_nobody_reads_is_no_failure(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "torchdeck.tui.cli", *arguments]
    environment = {**os.environ, "TORCHDECK_LOGS": str(ROOT / "logs" / "reference"), "TORCHDECK_DATA": str(tmp_path)}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, env=environment, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
