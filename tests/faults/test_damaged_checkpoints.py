"""Damaged and hostile checkpoints: every changed bit is noticed, nothing is run, nothing is read that is too large."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import random
import resource
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from fault_counts import Faults
from repository import ROOT

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.errors import CheckpointError, InputError, LogsError
from torchdeck.core.events import RunEvent, RunStarted, WarningRaised
from torchdeck.core.results.model_export import export
from torchdeck.core.results.predictions import MAX_FILE_BYTES, read_filters, read_predictions
from torchdeck.core.runs import checkpoint
from torchdeck.core.utils.files import to_json_bytes

FILES = (*checkpoint.FILES, "manifest.json")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A small checkpoint."""
    torch.manual_seed(1)
    tensors = {"model.weight": torch.randn(20, 10), "model.bias": torch.randn(20), "optimizer.0.m": torch.randn(20, 10)}
    return checkpoint.save(tmp_path / "checkpoints", 7, tensors, {"position": {"step": 7}, "schedule": [0.1]}).folder


def test_every_flipped_bit_and_every_cut_of_a_checkpoint_is_noticed(saved: Path, faults: Faults, soak: int) -> None:
    whole = {name: (saved / name).read_bytes() for name in FILES}
    count, unnoticed, crashes = 800 * soak, [], []
    for seed in range(count):
        dice = random.Random(seed)
        name = dice.choice(FILES)
        content = bytearray(whole[name])
        place = dice.randrange(len(content))
        if seed % 2:
            del content[place:]
        else:
            content[place] ^= 1 << dice.randrange(8)
        (saved / name).write_bytes(content)
        try:
            checkpoint.load(saved)
            unnoticed.append((seed, name))
        except CheckpointError:
            pass
        except Exception as error:  # noqa: BLE001 - any exception is the crash that is counted
            crashes.append(f"{seed} {name}: {error!r}")
        (saved / name).write_bytes(whole[name])
    faults("damaged checkpoints", count, lost=len(unnoticed), crashes=len(crashes))
    assert (unnoticed, crashes) == ([], [])
    checkpoint.load(saved)


def test_without_a_manifest_most_flipped_bits_would_be_taken_for_weights(saved: Path) -> None:
    whole = (saved / "model.safetensors").read_bytes()
    taken = 0
    for seed in range(100):
        content = bytearray(whole)
        content[random.Random(seed).randrange(len(content))] ^= 1
        try:
            safetensors.torch.load(bytes(content))
            taken += 1
        except Exception:  # noqa: BLE001 - of whatever type it is, the flip was noticed
            continue
    assert taken > 50


def test_a_file_that_is_missing_is_noticed(saved: Path, faults: Faults) -> None:
    for name in FILES:
        content = (saved / name).read_bytes()
        (saved / name).unlink()
        with pytest.raises(CheckpointError):
            checkpoint.load(saved)
        (saved / name).write_bytes(content)
    faults("damaged checkpoints", len(FILES))


# Falling back


def after_this_epoch() -> Control:
    """A control that stops a run at the end of its next epoch."""
    control = Control()
    control.request("stop-after-epoch", "soon")
    return control


def damage(place: Path, name: str = "model.safetensors") -> None:
    content = bytearray((place / name).read_bytes())
    content[-3] ^= 1
    (place / name).write_bytes(content)


def test_a_run_goes_on_from_the_older_checkpoint_and_names_the_damaged_one(
    small: Callable[..., ExperimentConfig],
    train: Callable[..., list[RunEvent]],
    go_on: Callable[..., list[RunEvent]],
    the_run: Callable[[], Path],
    faults: Faults,
) -> None:
    train(small(), after_this_epoch())
    go_on(the_run(), after_this_epoch())
    newest, older = checkpoint.newest_first(the_run() / "checkpoints")
    damage(newest)
    events = go_on(the_run())
    faults("damaged checkpoints")
    started = next(event for event in events if isinstance(event, RunStarted))
    assert f"step-{started.resumed_from:08}" == older.name
    told = [event.message for event in events if isinstance(event, WarningRaised)]
    assert any(newest.name in message and "checksum differs" in message for message in told)


def test_an_export_of_damaged_weights_is_refused_and_of_older_ones_is_made(
    small: Callable[..., ExperimentConfig],
    train: Callable[..., list[RunEvent]],
    the_run: Callable[[], Path],
    tmp_path: Path,
    faults: Faults,
) -> None:
    train(small())
    places = list(checkpoint.newest_first(the_run() / "checkpoints"))
    assert len(places) >= 2
    damage(places[0])
    (told,) = export(the_run(), "safetensors", tmp_path / "older").passed_over
    assert places[0].name in told
    assert "checksum differs" in told
    for place in places[1:]:
        damage(place)
    faults("damaged checkpoints", len(places))
    for form in ("torchscript", "safetensors"):
        with pytest.raises(CheckpointError, match="no valid checkpoint"):
            export(the_run(), form, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_an_export_of_a_run_that_does_not_describe_its_weights_is_refused(
    small: Callable[..., ExperimentConfig],
    train: Callable[..., list[RunEvent]],
    the_run: Callable[[], Path],
    tmp_path: Path,
    faults: Faults,
) -> None:
    train(small())
    header = json.loads((the_run() / "run.json").read_bytes())
    huge = {**header["data"]["image"], "height": 2**40}
    forged = [{"config": {}}, {"data": {}}]
    forged += [{"data": {**header["data"], **change}} for change in ({"image": huge}, {"image": "x"}, {"mean": ["x"]})]
    for change in forged:
        (the_run() / "run.json").write_text(json.dumps({**header, **change}))
        with pytest.raises(InputError):
            export(the_run(), "torchscript", tmp_path / "model.pt")
    faults("mistyped files", len(forged))
    assert not (tmp_path / "model.pt").exists()


# Ill will


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Evil(canary))


def saved_by_torch(canary: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": Evil(canary)}, buffer)
    return buffer.getvalue()


def legacy(canary: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": Evil(canary)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def legacy_tar(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickled(canary)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def script(canary: Path) -> bytes:  # noqa: ARG001 - TorchScript brings code of its own
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


@cache
def bomb() -> bytes:
    """It takes a second to make."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300 * 2**20))
    return buffer.getvalue()


def tensors_of(header: bytes | dict[str, Any], body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "a pickle": pickled,
    "a file of torch.save": saved_by_torch,
    "a legacy file of torch.save": legacy,
    "a legacy tar": legacy_tar,
    "TorchScript": script,
    "a zip bomb": lambda _: bomb(),
    "a header of any length": lambda _: tensors_of(b"{}", length=2**62),
    "a shape that overflows": lambda _: tensors_of({"w": entry([2**40, 2**40], 0, 4)}, bytes(4)),
    "tensors that overlap": lambda _: tensors_of({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "offsets past the end": lambda _: tensors_of({"w": entry([2**30], 0, 2**32)}, bytes(4)),
    "a deep header": lambda _: tensors_of(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "many names": lambda _: tensors_of({f"w{number}": entry([1], 0, 4) for number in range(50_000)}, bytes(4)),
    "deep JSON": lambda _: b"[" * 100_000 + b"]" * 100_000,
    "a bomb of one number": lambda _: b"9" * 1_000_000,
    "nothing": lambda _: b"",
}


def replaced(place: Path, name: str, content: bytes) -> None:
    """Put content in the place of a file and forge the manifest for it, as somebody who knows the format would."""
    (place / name).write_bytes(content)
    manifest = json.loads((place / "manifest.json").read_bytes())
    manifest["files"][name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (place / "manifest.json").write_bytes(to_json_bytes(manifest))


@pytest.mark.parametrize("forged", [False, True], ids=["as it is", "manifest forged"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_checkpoint_is_refused_and_nothing_of_it_is_run(
    saved: Path, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch, kind: str, forged: bool
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary = tmp_path / "canary"
    content = HOSTILE[kind](canary)
    whole = {name: (saved / name).read_bytes() for name in FILES}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in checkpoint.FILES:
        if forged:
            replaced(saved, name, content)
        else:
            (saved / name).write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(saved)
        for other, old in whole.items():
            (saved / other).write_bytes(old)
    (saved / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint.load(saved)
    faults("hostile checkpoints", len(FILES), crashes=int(canary.exists()))
    assert not canary.exists()
    # KiB: a bomb would have taken 300,000.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_file_that_is_larger_than_its_manifest_says_is_not_read(saved: Path, faults: Faults) -> None:
    os.truncate(saved / "model.safetensors", 2**40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    faults("hostile checkpoints", 2)
    with pytest.raises(CheckpointError, match="its size differs"):
        checkpoint.load(saved)
    manifest = json.loads((saved / "manifest.json").read_bytes())
    manifest["files"]["model.safetensors"]["bytes"] = 2**40
    (saved / "manifest.json").write_bytes(to_json_bytes(manifest))
    with pytest.raises(CheckpointError, match="has no size"):
        checkpoint.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_of_an_analysis_are_refused(tmp_path: Path, faults: Faults, kind: str) -> None:
    canary = tmp_path / "canary"
    for name in ("predictions.safetensors", "filters.safetensors"):
        (tmp_path / name).write_bytes(HOSTILE[kind](canary))
    faults("hostile checkpoints", 2, crashes=int(canary.exists()))
    for read in (lambda: read_predictions(tmp_path, 10), lambda: read_filters(tmp_path)):
        with pytest.raises(LogsError):
            read()
    assert not canary.exists()


def test_an_analysis_of_any_size_is_not_read(tmp_path: Path, faults: Faults) -> None:
    for name in ("predictions.safetensors", "filters.safetensors"):
        (tmp_path / name).write_bytes(b"")
        os.truncate(tmp_path / name, MAX_FILE_BYTES + 1)
    faults("hostile checkpoints", 2)
    for read in (lambda: read_predictions(tmp_path, 10), lambda: read_filters(tmp_path)):
        with pytest.raises(LogsError, match="256 MiB"):
            read()


def test_loaded_without_care_the_same_file_runs_what_it_brings(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(saved_by_torch(tmp_path / "canary"))
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "canary").is_dir()


# The sources


DANGEROUS_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "joblib"}
DANGEROUS_CALLS = {"eval", "exec", "compile", "__import__"}


def faults_of(tree: ast.AST) -> list[str]:
    """What in a source could run what a file brings."""
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [f"{node.lineno}: import {a.name}" for a in names if a.name.split(".")[0] in DANGEROUS_MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in DANGEROUS_MODULES:
                found.append(f"{node.lineno}: from {module}")
            case ast.Call(func=ast.Name(id=name)) if name in DANGEROUS_CALLS:
                found.append(f"{node.lineno}: {name}()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords):
                literal = any(
                    k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
                    for k in keywords
                )
                found += [] if literal else [f"{node.lineno}: torch.load"]
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="jit"), attr="load")):
                found.append(f"{node.lineno}: torch.jit.load")
            case ast.Call(keywords=keywords):
                found += [
                    f"{node.lineno}: allow_pickle" for k in keywords if k.arg == "allow_pickle" and _is_true(k.value)
                ]
            case _:
                pass
    return found


def _is_true(value: ast.expr) -> bool:
    return not (isinstance(value, ast.Constant) and value.value is False)


def test_no_source_unpickles_or_evaluates_what_a_file_brings() -> None:
    sources = [path for folder in ("core", "presets", "tui") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 100
    found = {str(path.relative_to(ROOT)): faults_of(ast.parse(path.read_text())) for path in sources}
    # The batches of CIFAR are pickles: their checksum is looked at before, and the unpickler knows only arrays.
    # An export is loaded again from the file that the same command has just written.
    allowed = {"core/data/cifar.py": ["import pickle"], "core/results/exported_model.py": ["torch.jit.load"]}
    told = {name: items for name, items in found.items() if items}
    assert {name: [item.split(": ")[1] for item in items] for name, items in told.items()} == allowed


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from marshal import loads", "import yaml", "eval('1')", "exec('1')", "torch.load(path)",
        "torch.load(path, weights_only=False)", "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "torch.jit.load(path)", "np.load(path, allow_pickle=flag)",
    ],
)  # fmt: skip
def test_a_source_that_does_is_found(source: str) -> None:
    assert faults_of(ast.parse(source))


def test_a_careful_source_is_not() -> None:
    assert faults_of(ast.parse("torch.load(path, weights_only=True); np.load(path, allow_pickle=False)")) == []
