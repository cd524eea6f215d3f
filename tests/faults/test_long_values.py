"""Numbers of thousands of digits and texts of a megabyte where a person types: one short error, and exit code 2."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fault_counts import Faults

from torchdeck.core.errors import MAX_QUOTED_LENGTH, explained
from torchdeck.core.processes.agent import _cause
from torchdeck.core.processes.launch import WorkerProcess
from torchdeck.tui.cli.main import main
from torchdeck.tui.state.settings_draft import SettingsDraft

DIGITS, HEX, SPACED, LONG = "9" * 5000, "0x" + "f" * 5000, "x " * 50_000, "x" * 100_000
DEEP = "[" * 50_000
EPOCHS = "training.epochs="
COMMANDS = [
    *(["run", "quickstart", f"{EPOCHS}{value}"] for value in (DIGITS, f"-{DIGITS}", HEX, SPACED, LONG, DEEP)),
    ["run", "quickstart", f"optimizer.lr={DIGITS}"],
    ["run", "quickstart", f"{LONG}=1"],
    ["run", "quickstart", f"{SPACED}=1"],
    ["run", "quickstart", f"training.{SPACED}=1"],
    ["run", "quickstart", f"model.name={SPACED}"],
    ["run", "quickstart", f"training.device={SPACED}"],
    ["run", "quickstart", "--devices", DIGITS],
    ["run", "quickstart", "data.name=image-folder", f"data.path={LONG}"],
    ["run", LONG],
    ["run", SPACED],
    ["sweep", "quickstart", f"{EPOCHS}{DIGITS},2"],
    ["sweep", "quickstart", f"{EPOCHS}1,2", "--budget", DIGITS],
    ["search", "quickstart", f"{EPOCHS}int(1,{DIGITS})"],
    ["search", "quickstart", f"{EPOCHS}int(1,{HEX})"],
    ["search", "quickstart", f"optimizer.lr=choice(1,{DIGITS})"],
    ["search", "quickstart", f"optimizer.lr=log(1,{DIGITS})"],
    ["data", "inspect", LONG],
    ["show", SPACED],
    ["study-result", LONG],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:40])
def test_a_value_of_any_length_is_refused_in_a_few_words(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    faults: Faults,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["torchdeck", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    faults("values of any length", crashes=int(ended.value.code != 2))
    assert ended.value.code == 2, printed.err[:500]
    assert len(printed.out + printed.err) < 3 * MAX_QUOTED_LENGTH + 500
    assert not list(tmp_path.glob("logs/*"))


def test_so_is_one_in_the_form() -> None:
    from torchdeck import presets

    draft = SettingsDraft(presets.load("quickstart"))
    draft.edit("training.epochs", DIGITS)
    (fault,) = draft.check().faults.values()
    assert fault.startswith("must be a valid integer, not '999")
    assert len(fault) < MAX_QUOTED_LENGTH + 100


def test_too_little_memory_for_a_library_is_said(tmp_path: Path) -> None:
    limit = 400 * 2**20
    told = subprocess.run(
        [sys.executable, "-m", "torchdeck.tui.cli", "run", "quickstart", "--logs", str(tmp_path / "logs")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert told.returncode == 1
    assert told.stderr.startswith("error: too little memory to load a library (")
    assert "internal error" not in told.stderr
    assert explained(ImportError("No module named 'x'")) is None


# -- messages name files that are there


def test_a_rank_that_ends_before_the_start_is_named_and_no_file_that_is_gone(tmp_path: Path) -> None:
    died = {
        1: SimpleNamespace(exitcode=-signal.SIGTERM, pid=11, timestamp=2),
        0: SimpleNamespace(exitcode=-signal.SIGTERM, pid=10, timestamp=1),
    }
    failure, lost = _cause(tmp_path, died)
    assert (failure.message, lost) == ("rank 0 (process 10) was ended by SIGTERM without an error message", True)
    assert str(tmp_path) not in failure.hint
    (tmp_path / "run.json").touch()
    assert str(tmp_path / "ranks") in _cause(tmp_path, died)[0].hint


def test_a_process_that_could_not_start_a_run_leaves_its_last_words(tmp_path: Path) -> None:
    kept, hidden = tmp_path / "0001.log", tmp_path / ".run.log"
    for console in (kept, hidden):
        console.write_text("of an earlier process\nTraceback\nImportError: no libtorch\n")
    process = SimpleNamespace(returncode=1, poll=lambda: 1, stdin=None)
    assert WorkerProcess(process, kept, 0).exit_text() == f"its process ended with exit code 1; see {kept}"
    # The hidden file is deleted with the message.
    assert WorkerProcess(process, hidden, 0).exit_text() == (
        "its process ended with exit code 1 (ImportError: no libtorch)"
    )
    assert WorkerProcess(process, hidden, hidden.stat().st_size).exit_text() == "its process ended with exit code 1"
