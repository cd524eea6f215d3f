"""Decoding images onto a disk that is too small: told beforehand or by an error, never by SIGBUS, and nothing stays."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_counts import Faults
from pictures import write_picture

from torchdeck.core.config import parse_config
from torchdeck.core.data import open_dataset
from torchdeck.core.data.cache import staging
from torchdeck.core.data.prepare import Prepared, prepare
from torchdeck.core.errors import DataError
from torchdeck.core.training.plan import Plan, make_plan

SIZE = 16
BYTES = 14 * (3 * SIZE * SIZE + 8)
"""Of fourteen decoded images with their labels."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, count in (("train", 5), ("test", 2)):
        for name, value in (("ants", 10), ("bees", 200)):
            for number in range(count):
                write_picture(tmp_path / "images" / split / name / f"{number}.png", value)
    return tmp_path


def plan_of(root: Path) -> Plan:
    sections: dict[str, Any] = {
        "data": {"name": "image-folder", "size": SIZE},
        "model": {"name": "lenet"},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "training": {"epochs": 1, "batch_size": 4, "device": "cpu", "precision": "fp32"},
    }
    return make_plan(parse_config(sections), root)


def prepared(root: Path) -> Prepared:
    steps = prepare(open_dataset(plan_of(root).config.data, root), 1, False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def refused(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refused_later() -> Callable[[int, bytes, int], int]:
    """A disk that is full after some writes, each of which it takes in two parts."""
    left, write = iter(range(12)), os.pwrite
    return lambda file, content, offset: (
        write(file, content[: max(1, len(content) // 2)], offset) if next(left, None) is not None else refused()
    )


def cached(root: Path) -> list[Path]:
    return [*(root / "cache").glob("*"), *(root / "cache").glob(".*")]


@pytest.mark.parametrize("moment", ["at the start", "in between"])
def test_a_full_disk_while_decoding_is_an_error_that_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults, moment: str
) -> None:
    if moment == "at the start" and sys.platform != "linux":
        pytest.skip("room is only reserved on Linux")
    with monkeypatch.context() as patched:
        if moment == "at the start":
            patched.setattr("os.posix_fallocate", refused)
        else:
            patched.setattr("os.pwrite", refused_later())
        with pytest.raises(DataError, match=r"cannot be written \(the disk is full\).*--data"):
            prepared(root)
    faults("full disks while decoding")
    assert not cached(root)
    assert prepared(root).train.images.shape == (10, 3, SIZE, SIZE)


def test_a_disk_that_takes_part_of_a_write_gets_the_rest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepared(root)
    shutil.rmtree(root / "cache")
    write = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda file, content, offset: write(file, content[:100], offset))
    again = prepared(root)
    assert (again.train.images == whole.train.images).all()
    assert again.mean == whole.mean


def test_the_plan_tells_the_size_and_a_disk_without_room_is_refused_before_an_image_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan_of(root).disk == plan_of(root).to_json()["disk"] == BYTES
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, BYTES - 1))  # type: ignore[attr-defined]
    monkeypatch.setattr("torchdeck.core.data.prepare.decoded", pytest.fail)
    with pytest.raises(DataError, match="free"):
        prepared(root)
    assert not cached(root)


def test_what_is_decoded_needs_no_room_again(root: Path) -> None:
    prepared(root)
    assert plan_of(root).disk == 0


def test_what_a_killed_process_left_goes_and_what_another_makes_stays(root: Path) -> None:
    left = root / "cache" / ".image-folder-0.aaaaaaaa.tmp"
    left.mkdir(parents=True)
    (left / "train-images.npy").write_bytes(bytes(100))
    with staging(root / "cache" / "other") as made:
        prepared(root)
        assert made.is_dir()
        assert not left.exists()
    assert not made.exists()
