"""Folders of images from anybody: no rare decoder, no program, no wait for a pipe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fault_counts import Faults
from PIL import EpsImagePlugin, Image
from polling import within

from torchdeck.core.config import parse_data
from torchdeck.core.data import open_dataset
from torchdeck.core.data.dataset import FileDataset
from torchdeck.core.data.images.files import FORMATS, UnreadableError, opened
from torchdeck.core.data.prepare import prepare
from torchdeck.core.errors import DataError


def open_image(path: Path) -> Image.Image:
    with opened(path) as picture:
        picture.load()
        return picture


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
(/tmp/x) (w) file closefile
"""


def write_picture(path: Path, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        Image.new("RGB", (16, 16), (200, 30, 90)).save(file, kind)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> FileDataset:
    for name in ("ants", "bees"):
        for number in range(5):
            write_picture(tmp_path / "images" / name / f"{number}.png")
    dataset = open_dataset(parse_data("image-folder", ["data.size=8"]), tmp_path)
    assert isinstance(dataset, FileDataset)
    return dataset


@pytest.mark.parametrize("ending", FORMATS)
def test_every_promised_format_is_decoded_whatever_it_is_called(tmp_path: Path, ending: str) -> None:
    assert open_image(write_picture(tmp_path / f"x{ending}", FORMATS[ending])).size == (16, 16)
    assert open_image(write_picture(tmp_path / "x.png", FORMATS[ending])).size == (16, 16)


def test_a_picture_that_is_postscript_never_reaches_ghostscript(
    folder: FileDataset, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **_: ran.append(given))
    path = folder.root / "images" / "ants" / "3.png"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match=r"3\.png \(not an image"):
        list(prepare(folder, 1, False))
    faults("malicious images", crashes=len(ran))
    assert not ran


@pytest.mark.parametrize("kind", ["DDS", "ICO", "PCX", "SGI", "TGA"])
def test_no_rare_decoder_of_pillow_is_open_to_a_data_folder(tmp_path: Path, faults: Faults, kind: str) -> None:
    faults("malicious images")
    with pytest.raises(UnreadableError, match="not an image"):
        open_image(write_picture(tmp_path / "x.png", kind))


def test_only_regular_files_are_images_and_links_to_them(folder: FileDataset, faults: Faults) -> None:
    ants = folder.root / "images" / "ants"
    os.mkfifo(ants / "pipe.png")
    (ants / "folder.png").mkdir()
    (ants / "link.png").symlink_to(ants / "0.png")
    with within(20):
        listings = [folder.listing(split) for split in folder.splits]
        names = sorted(
            found.path(place).name for found in listings for place in range(len(found)) if not found.labels[place]
        )
        assert names == ["0.png", "1.png", "2.png", "3.png", "4.png", "link.png"]
        list(prepare(folder, 1, False))
    faults("malicious images", 3)


@pytest.mark.parametrize(("target", "told"), [("pipe", "not a regular file"), ("absent", "No such file")])
def test_a_link_that_leads_to_no_regular_file_is_named(tmp_path: Path, faults: Faults, target: str, told: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.png").symlink_to(tmp_path / target)
    faults("malicious images")
    with within(20), pytest.raises(UnreadableError, match=told):
        open_image(tmp_path / "x.png")


def test_a_pipe_in_place_of_a_file_of_tiny_imagenet_is_not_waited_for(tmp_path: Path, faults: Faults) -> None:
    root = tmp_path / "tiny-imagenet-200"
    (root / "train").mkdir(parents=True)
    (root / "val").mkdir()
    (root / "val" / "val_annotations.txt").touch()
    (root / "words.txt").touch()
    os.mkfifo(root / "wnids.txt")
    faults("malicious images")
    with within(20), pytest.raises(DataError, match=r"wnids\.txt cannot be read"):
        open_dataset(parse_data("tiny-imagenet", []), tmp_path).facts()
