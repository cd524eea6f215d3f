from pathlib import Path
from typing import Any

import pytest
import torch

from torchdeck.core.errors import CheckpointError
from torchdeck.core.runs import checkpoint

TENSORS = {
    "model.weight": torch.arange(6.0).view(2, 3),
    "losses": torch.ones(4),
    "random.cpu": torch.zeros(8, dtype=torch.uint8),
}
STATE: dict[str, Any] = {"position": {"epoch": 2}, "scalar": 0.1}


def saved(root: Path, step: int = 10) -> Path:
    return checkpoint.save(root, step, TENSORS, STATE).folder


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    tensors, state = checkpoint.load(saved(tmp_path / "checkpoints"))
    assert state == STATE
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert set(checkpoint.load_model(tmp_path / "checkpoints" / "step-00000010")) == {"weight"}


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_any_damage_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    path = saved(tmp_path / "checkpoints") / name
    content = bytearray(path.read_bytes())
    match damage:
        case "flip":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:-2])
        case "empty":
            path.write_bytes(b"")
        case _:
            path.unlink()
    with pytest.raises(CheckpointError):
        checkpoint.load(path.parent)


def test_every_flipped_bit_of_the_weights_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "checkpoints") / "model.safetensors"
    good = path.read_bytes()
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            checkpoint.load_model(path.parent)


def test_a_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    assert {path.suffix for path in saved(tmp_path / "checkpoints").iterdir()} == {".safetensors", ".json"}


def test_the_newest_comes_first_and_the_best_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    for step in (5, 10, 15, 20):
        saved(root, step)
        checkpoint.delete_old(root, step, 5)
    assert [path.name for path in checkpoint.newest_first(root)] == ["step-00000020", "step-00000015", "step-00000005"]


def test_what_an_interrupted_save_left_is_swept_and_never_loaded(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    (root / ".step-00000007.tmp").mkdir(parents=True)
    assert list(checkpoint.newest_first(root)) == []
    saved(root)
    assert [path.name for path in root.iterdir()] == ["step-00000010"]


def test_a_failed_save_costs_no_older_checkpoint(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    saved(root, 5)
    with pytest.raises(TypeError):
        checkpoint.save(root, 10, TENSORS, {"no JSON": object()})
    assert [path.name for path in checkpoint.newest_first(root)] == ["step-00000005"]
    checkpoint.load(root / "step-00000005")


def test_a_checkpoint_of_a_newer_form_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "checkpoints") / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(CheckpointError, match="newer Torchdeck"):
        checkpoint.load(path.parent)
