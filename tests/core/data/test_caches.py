"""Decoded images on disk: listed with their sizes, and deleted when no data set uses them."""

import fcntl
import json
import os
import secrets
from pathlib import Path

import pytest
from pictures import image_folder, write_classes, write_picture
from typer.testing import CliRunner

from torchdeck.core.data.caches import list_caches
from torchdeck.core.data.prepare import prepare
from torchdeck.core.utils.generators import run_to_end
from torchdeck.tui.cli.data_commands import data_app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the decoded images of a folder at two sizes."""
    write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    for size in (8, 12):
        run_to_end(prepare(image_folder(tmp_path / "photos", size=size), 1, streamed=False))
    return tmp_path


def unused(data: Path) -> list[str]:
    return [cache.unused for cache in list_caches(data)]


def invoke(*arguments: str) -> str:
    shown = CliRunner().invoke(data_app, [*arguments])
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def test_the_caches_of_an_unchanged_data_set_are_used(data: Path) -> None:
    assert unused(data) == ["", ""]
    (row,) = [row for row in json.loads(invoke("list", "--json", "--data", str(data))) if row["name"] == "image-folder"]
    on_disk = sum(path.stat().st_size for path in (data / "cache").rglob("*") if path.is_file())
    assert row["cache_bytes"] == on_disk
    assert json.loads(invoke("clean", "--json", "--data", str(data)))["caches"] == []
    assert len(list_caches(data)) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda photos: write_picture(photos / "ants" / "99.png"), "the files have changed"),
        (lambda photos: photos.rename(photos.with_name("moved")), "the files are gone"),
    ],
)
def test_caches_of_files_that_changed_or_are_gone_are_deleted(data: Path, change: object, why: str) -> None:
    assert callable(change)
    change(data / "photos")
    assert unused(data) == [why, why]
    shown = json.loads(invoke("clean", "--dry-run", "--json", "--data", str(data)))
    assert not shown["removed"]
    assert len(list_caches(data)) == 2
    assert json.loads(invoke("clean", "--json", "--data", str(data)))["bytes"] == shown["bytes"] > 0
    assert not list_caches(data)


def test_caches_of_files_that_cannot_be_read_for_now_are_kept(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("torchdeck.core.data.caches.cache_folder", refuse)
    assert unused(data) == ["", ""]


def test_interrupted_caches_are_deleted_but_not_those_in_progress(data: Path) -> None:
    for number in range(2):
        made = data / "cache" / f".image-folder-{secrets.token_hex(12)}.{secrets.token_hex(4)}.tmp"
        made.mkdir()
        (made / "train-images.npy").write_bytes(b"0" * 10)
        if not number:
            lock = os.open(made, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
    assert sorted(unused(data)) == ["", "", "decoding was interrupted"]
    invoke("clean", "--data", str(data))
    assert len(list((data / "cache").iterdir())) == 3
    os.close(lock)


def test_caches_with_a_damaged_manifest_are_deleted(data: Path) -> None:
    first, second = (cache.folder for cache in list_caches(data))
    (first / "manifest.json").write_text('{"options": {"name": "image-folder", "size": "large"}}')
    (second / "manifest.json").unlink()
    assert unused(data) == ["of an earlier version, or damaged"] * 2


def test_all_deletes_every_cache_and_nothing_else(data: Path) -> None:
    (data / "cache" / "notes").mkdir()
    (data / "cache" / f"mnist-{'0' * 24}").symlink_to(data / "photos")
    invoke("clean", "--all", "--data", str(data))
    assert sorted(path.name for path in (data / "cache").iterdir()) == [f"mnist-{'0' * 24}", "notes"]
    assert (data / "photos" / "ants" / "0.png").is_file()
