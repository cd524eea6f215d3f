"""No damaged data set is trained on: its files, its archive and what was decoded of it are checked before use."""

import gzip
import hashlib
import io
import pickle
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fault_counts import Faults
from PIL import Image

from torchdeck.core.config import parse_data
from torchdeck.core.data import DigitsOptions, open_dataset
from torchdeck.core.data.cache import check_caches
from torchdeck.core.data.cifar import Cifar, Layout
from torchdeck.core.data.dataset import Dataset
from torchdeck.core.data.mnist import Idx
from torchdeck.core.data.prepare import Prepared, check, prepare
from torchdeck.core.errors import DataError


def prepared(dataset: Dataset, *, streamed: bool = False) -> Prepared:
    steps = prepare(dataset, 1, streamed)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def content_of(found: Prepared) -> str:
    """All that a training would see of the data."""
    splits = (found.train, found.test)
    return hashlib.sha256(b"".join(bytes(part) for s in splits for part in (s.images, s.labels))).hexdigest()


def damages(content: bytes, draw: random.Random, count: int) -> Iterator[bytes]:
    """The content with a bit flipped somewhere, or cut somewhere."""
    for number in range(count):
        place = draw.randrange(len(content))
        if number % 4:
            damaged = bytearray(content)
            damaged[place] ^= 1 << draw.randrange(8)
            yield bytes(damaged)
        else:
            yield content[:place]


def tiny_mnist(root: Path) -> Idx:
    """Four IDX files, half of them packed, with their checksums known."""
    folder, sums = root / "MNIST" / "raw", dict[str, str]()
    folder.mkdir(parents=True)
    for prefix, images in (("train", 6), ("t10k", 4)):
        for kind, shape in (("images-idx3-ubyte", (images, 28, 28)), ("labels-idx1-ubyte", (images,))):
            values = (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()
            head = bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()
            name, whole = f"{prefix}-{kind}", head + values
            if prefix == "t10k":
                name, whole = f"{name}.gz", gzip.compress(whole, mtime=0)
            (folder / name).write_bytes(whole)
            sums[name] = hashlib.md5(whole).hexdigest()
    return Idx(parse_data("mnist", []), root, "MNIST", tuple("0123456789"), sums)


def tiny_cifar(root: Path) -> Cifar:
    """Two batch files in an archive, with their checksums known, and nothing unpacked."""
    contents = {
        name: pickle.dumps({"data": np.full((4, 3072), value, np.uint8), "labels": [0, 1, 0, 1]})
        for name, value in (("data_batch_1", 3), ("test_batch", 7))
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"tiny/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    layout = Layout(
        torchvision_name="CIFAR10",
        folder="tiny",
        archive="tiny.tar.gz",
        archive_md5=hashlib.md5(packed.getvalue()).hexdigest(),
        archive_bytes=len(packed.getvalue()),
        files={"train": {"data_batch_1": sums["data_batch_1"]}, "test": {"test_batch": sums["test_batch"]}},
        meta=("meta", ""),
        label_key="labels",
        names_key="label_names",
        classes=10,
    )
    (root / "tiny.tar.gz").write_bytes(packed.getvalue())
    return Cifar(parse_data("cifar10", []), root, layout)


def folder_of_images(root: Path) -> Dataset:
    draw = np.random.default_rng(0)
    for name in ("ants", "bees"):
        for number in range(6):
            path = root / "images" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (12, 12, 3), np.uint8)).save(path)
    return open_dataset(parse_data("image-folder", ["data.size=12"]), root)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"])
def test_every_damage_to_a_data_file_is_noticed(tmp_path: Path, faults: Faults, soak: int, name: str) -> None:
    dataset, draw = tiny_mnist(tmp_path), random.Random(name)
    path = dataset.folder / name
    whole = path.read_bytes()
    for damaged in damages(whole, draw, 60 * soak):
        path.write_bytes(damaged)
        faults("damaged archives")
        with pytest.raises(DataError, match="is damaged"):
            prepared(dataset)
    path.write_bytes(whole)
    prepared(dataset)


def test_every_damage_to_an_archive_is_noticed_before_it_is_unpacked(tmp_path: Path, faults: Faults, soak: int) -> None:
    dataset, draw = tiny_cifar(tmp_path), random.Random(1)
    archive = tmp_path / "tiny.tar.gz"
    whole = archive.read_bytes()
    for damaged in damages(whole, draw, 60 * soak):
        archive.write_bytes(damaged)
        faults("damaged archives")
        with pytest.raises(DataError, match="is damaged"):
            prepared(dataset)
        assert not dataset.folder.exists()
    archive.write_bytes(whole)
    assert prepared(dataset).train.images.shape == (4, 3, 32, 32)


def test_every_damage_to_an_unpacked_batch_is_noticed_before_it_is_unpickled(
    tmp_path: Path, faults: Faults, soak: int
) -> None:
    dataset, draw = tiny_cifar(tmp_path), random.Random(2)
    prepared(dataset)
    path = dataset.folder / "data_batch_1"
    for damaged in damages(path.read_bytes(), draw, 60 * soak):
        path.write_bytes(damaged)
        faults("damaged archives")
        with pytest.raises(DataError, match="is damaged"):
            prepared(dataset)


MADE: dict[str, Callable[[Path], Dataset]] = {"image-folder": folder_of_images, "mnist": tiny_mnist}


@pytest.mark.parametrize("name", ["train-images.npy", "train-labels.npy", "test-images.npy", "manifest.json"])
@pytest.mark.parametrize("made", MADE)
def test_a_damaged_cache_is_never_trained_on(tmp_path: Path, faults: Faults, soak: int, made: str, name: str) -> None:
    dataset, draw = MADE[made](tmp_path), random.Random(name)
    wanted = content_of(prepared(dataset, streamed=True))
    (path,) = (tmp_path / "cache").rglob(name)
    whole = path.read_bytes()
    for damaged in damages(whole, draw, 12 * soak):
        path.write_bytes(damaged)
        faults("damaged archives")
        assert content_of(prepared(dataset, streamed=True)) == wanted


def test_a_check_reads_every_byte_of_what_was_decoded(tmp_path: Path, faults: Faults) -> None:
    dataset = folder_of_images(tmp_path)
    prepared(dataset, streamed=True)
    list(check(dataset))
    (path,) = (tmp_path / "cache").rglob("train-images.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01"[:1])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    faults("damaged archives")
    with pytest.raises(DataError, match=r"train-images\.npy"):
        list(check(dataset))


def test_a_large_map_is_checked_in_part_before_use_and_whole_on_request(tmp_path: Path) -> None:
    """What is promised of it: its size, its ends and every so many megabytes."""
    from torchdeck.core.data import cache

    folder = tmp_path / "cache" / "large-0"
    folder.mkdir(parents=True)
    path = folder / "train-images.npy"
    with open(path, "wb") as file:
        file.truncate((2 * cache.SAMPLED + 1) * cache.BLOCK)
    cache.write_manifest(folder, DigitsOptions(), [])
    assert cache.is_whole(folder)

    def flip(place: int) -> None:
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(b"\x01")

    flip(2 * cache.SAMPLED * cache.BLOCK)
    assert not cache.is_whole(folder)
    with pytest.raises(DataError):
        list(check_caches(tmp_path, "large"))


def test_a_damaged_picture_is_named_or_looks_the_same(tmp_path: Path, faults: Faults, soak: int) -> None:
    dataset, draw = folder_of_images(tmp_path), random.Random(3)
    wanted = content_of(prepared(dataset))
    path = tmp_path / "images" / "ants" / "3.png"
    whole, told = path.read_bytes(), list[str]()
    for damaged in damages(whole, draw, 60 * soak):
        path.write_bytes(damaged)
        faults("damaged archives")
        try:
            assert content_of(prepared(dataset)) == wanted
        except DataError as error:
            told.append(error.message)
    assert len(told) > 50 * soak
    assert all(str(path) in message for message in told)
