import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

SCREEN = ("rich", "textual", "typer", "plotext", "torchdeck.tui", "torchdeck.presets")


def loaded_by(*modules: str) -> set[str]:
    """The modules that a fresh interpreter has after importing some."""
    code = f"import sys, {', '.join(modules)}; print(' '.join(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(shown.stdout.split())


def test_the_command_line_starts_without_torch_or_a_screen_library() -> None:
    assert not loaded_by("torchdeck.tui.cli.main") & {
        "torch",
        "torchvision",
        "textual",
        "plotext",
        "numpy",
        "pydantic",
        "optuna",
    }


RUNS = """
import sys
from importlib import import_module
from pathlib import Path
from torchdeck.core.config import parse_config
from torchdeck.core.data import cifar, digits, mnist
from torchdeck.core.session.session import SessionContext, run
data = {"name": "synthetic", "size": 16, "train_images": 20, "test_images": 10}
training = {"epochs": 1, "batch_size": 10, "device": "cpu", "threads": 1}
folder = Path(sys.argv[1])
for name in ("sgd", "adam", "adamw", "muon"):
    asked = {"data": data, "model": {"name": "residual-cnn"}, "optimizer": {"name": name}, "training": training}
    *_, last = run(parse_config(asked), folder / "logs", context=SessionContext(folder))
    print(type(last).__name__, *sorted({"torch._dynamo", "torch._inductor", "sympy", "torchvision"} & set(sys.modules)))
for name in sys.argv[2].split():
    import_module(name)
print(*sys.modules)
"""


def test_training_loads_neither_torchvision_nor_torchs_compiler_and_the_core_no_screen_library(tmp_path: Path) -> None:
    files = [path for path in (ROOT / "core").rglob("*.py") if path.stem[0] != "_"]
    names = [".".join(("torchdeck", *path.relative_to(ROOT).with_suffix("").parts)) for path in files]
    command = [sys.executable, "-c", RUNS, str(tmp_path), " ".join(names)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    *runs, loaded = shown.stdout.splitlines()
    assert runs == ["RunCompleted"] * 4
    assert not set(loaded.split()) & set(SCREEN)


def test_the_tables_load_no_torch() -> None:
    assert "torch" not in loaded_by(
        "torchdeck.core.config",
        "torchdeck.core.events",
        "torchdeck.core.runs.record",
        "torchdeck.core.runs.index",
        "torchdeck.core.runs.reported",
        "torchdeck.presets",
    )


@pytest.mark.parametrize("folder", ["core", "presets", "tui"])
def test_files_stay_small_enough_to_read(folder: str) -> None:
    long = [str(path) for path in (ROOT / folder).rglob("*.py") if len(path.read_text().splitlines()) > 400]
    assert not long


def test_every_module_opens_with_what_it_owns() -> None:
    files = [path for folder in ("core", "presets", "tui") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if not path.read_text().startswith('"""')] == []


def test_nothing_waits_for_the_screen_from_another_thread() -> None:
    """Textual's `call_from_thread` holds up a training for as long as a terminal is slow."""
    files = [path for folder in ("core", "presets", "tui") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if "call_from_thread" in path.read_text()] == []


@pytest.mark.parametrize("name", ["__init__.py", "py.typed", "core", "presets", "tui"])
def test_the_package_is_the_root_under_its_name(name: str) -> None:
    shown = ROOT / "src" / "torchdeck" / name
    assert shown.is_symlink(), "a copy without links? take git clone, or cp -a"
    assert shown.resolve() == ROOT / name


def test_modules_of_the_package_name_each_other_from_where_they_stand() -> None:
    """A module has one name, and tools that do not follow links see what imports what."""
    files = [path for folder in ("core", "presets", "tui") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in files if re.search(r"^ *(from|import) torchdeck", path.read_text(), re.M)] == []
