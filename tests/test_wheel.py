"""The wheel, installed into an environment of its own: nothing but `torchdeck`, whatever the current folder holds."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

SMALL = ("data.train_limit=60", "training.batch_size=20", "training.epochs=1", "training.device=cpu")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An interpreter that has the wheel, and sees the packages of this one but not its checkout."""
    pytest.importorskip("ensurepip", reason="this Python cannot make environments with pip")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
    python = folder / "venv" / "bin" / "python"
    [wheel] = folder.glob("*.whl")
    install = [python, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    site = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    # A folder named in a .pth file is searched, but its own .pth files, the editable install among them, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with modules of its own that have the names of Torchdeck's folders."""
    for name in ("core", "tui", "presets", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the module of the project was imported')\n")
    return tmp_path


def run(python: Path, project: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": ".", "TORCHDECK_LOGS": str(project / "logs")}
    done = subprocess.run([python, *command], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def torchdeck(python: Path, project: Path, *command: str) -> str:
    return run(python, project, str(python.parent / "torchdeck"), *command)


def test_the_wheel_installs_torchdeck_and_nothing_else(python: Path, project: Path) -> None:
    code = "import torchdeck.tui.cli.main, torchdeck.presets; print(torchdeck.__file__)"
    module = Path(run(python, project, "-P", "-c", code).strip())
    site = module.parent.parent
    assert site.is_relative_to(python.parent.parent)
    brought = {
        path.name for path in site.iterdir() if "torchdeck" in path.name or path.name in ("core", "tui", "presets")
    }
    assert brought == {"torchdeck", "torchdeck-0.1.0.dist-info"}
    with zipfile.ZipFile(next(python.parents[2].glob("*.whl"))) as wheel:
        assert {name.partition("/")[0] for name in wheel.namelist()} == brought
    assert (module.parent / "py.typed").exists()
    assert not [path for path in module.parent.rglob("*") if path.is_symlink()]


def test_it_trains_beside_a_project_with_modules_of_the_same_names(python: Path, project: Path) -> None:
    torchdeck(python, project, "run", "quickstart", *SMALL)
    detached = torchdeck(python, project, "run", "quickstart", "--detach", *SMALL).strip()
    torchdeck(python, project, "attach", detached)
    torchdeck(python, project, "sweep", "quickstart", "optimizer.lr=0.01,0.02", *SMALL, "--devices", "cpu")
    assert torchdeck(python, project, "runs", "status:completed", "--json").count('"run_id"') == 4
