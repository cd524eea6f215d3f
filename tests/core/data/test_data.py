import fcntl
import gzip
import os
import pickle
import struct
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pictures import write_picture

from torchdeck.core.config import parse_data
from torchdeck.core.data import DATASETS, open_dataset
from torchdeck.core.data.dataset import ArrayDataset, Dataset, Split, download
from torchdeck.core.data.image_spec import Progress
from torchdeck.core.data.mnist import Idx
from torchdeck.core.data.prepare import Prepared, prepare
from torchdeck.core.data.statistics import channel_statistics
from torchdeck.core.errors import ConfigError, DataError


def opened(root: Path, name: str, **settings: Any) -> Dataset:
    return open_dataset(parse_data(name, [f"data.{key}={value!r}".lower() for key, value in settings.items()]), root)


def prepared(dataset: Dataset, seed: int = 1, streamed: bool = False) -> tuple[Prepared, list[Progress]]:
    steps, told = prepare(dataset, seed, streamed), []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return end.value, told


def write_mnist(root: Path, train: int = 6, test: int = 4, *, packed: bool = False) -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images = np.arange(count * 784, dtype=np.uint32).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        contents = {
            f"{prefix}-images-idx3-ubyte": struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + images.tobytes(),
            f"{prefix}-labels-idx1-ubyte": struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes(),
        }
        for name, content in contents.items():
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.fixture
def folder_of_images(tmp_path: Path) -> Path:
    for split, count in (("train", 5), ("test", 2)):
        for name, value in (("ants", 10), ("bees", 200)):
            for number in range(count):
                write_picture(tmp_path / "images" / split / name / f"{number}.png", value + number)
    return tmp_path


@pytest.fixture
def tiny_imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "tiny-imagenet-200"
    for number, name in enumerate(("n001", "n002")):
        for index in range(3):
            mode = "L" if index == 0 else "RGB"
            write_picture(root / "train" / name / "images" / f"{name}_{index}.JPEG", 60 * number, (64, 64), mode)
    write_picture(root / "val" / "images" / "val_0.JPEG", 0, (64, 64))
    write_picture(root / "val" / "images" / "val_1.JPEG", 60, (64, 64))
    (root / "val" / "val_annotations.txt").write_text(
        "val_0.JPEG\tn002\t0\t0\t62\t62\nval_1.JPEG\tn001\t0\t0\t62\t62\n"
    )
    (root / "wnids.txt").write_text("n001\nn002\n")
    (root / "words.txt").write_text("n001\tgoldfish, Carassius auratus\nn002\tbullfrog\nn003\tother\n")
    return tmp_path


def test_the_digits_come_with_the_package(tmp_path: Path) -> None:
    found, _ = prepared(opened(tmp_path, "digits", size=8))
    facts = opened(tmp_path, "digits", size=8).facts()
    assert found.train.images.shape == (facts.train_images, 1, 8, 8)
    assert found.test.images.shape == (facts.test_images, 1, 8, 8)
    assert facts.train_images + facts.test_images == 1797
    assert sorted(np.unique(found.test.labels)) == list(range(10))
    assert not list(tmp_path.iterdir())


def test_digits_grow_to_the_size_asked_for(tmp_path: Path) -> None:
    found, told = prepared(opened(tmp_path, "digits", size=32))
    assert found.train.images.shape[2:] == (32, 32)
    assert any(step.total == len(found.train.labels) for step in told)


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if name not in ("image-folder", "tiny-imagenet")])
def test_facts_are_known_before_the_files_are_there(name: str, tmp_path: Path) -> None:
    facts = opened(tmp_path, name).facts()
    assert facts.spec.classes == len(facts.class_names)
    assert min(facts.train_images, facts.test_images) > 0


def unchecked_mnist(root: Path) -> ArrayDataset:
    """MNIST without its published checksums, which made-up files cannot have."""
    return Idx(parse_data("mnist", []), root, "MNIST", tuple("0123456789"), {})


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_files_are_read_packed_or_not(tmp_path: Path, packed: bool) -> None:
    write_mnist(tmp_path, packed=packed)
    split = unchecked_mnist(tmp_path).read("train")
    assert split.images.shape == (6, 1, 28, 28)
    assert split.images[1, 0, 0, 0] == 784 % 256
    assert split.labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_an_mnist_file_of_another_length_than_it_says_is_damaged(tmp_path: Path) -> None:
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="not a complete IDX file"):
        unchecked_mnist(tmp_path).read("train")


def test_a_truncated_mnist_file_is_told_with_its_mend(tmp_path: Path) -> None:
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError) as caught:
        opened(tmp_path, "mnist").read("train")
    assert str(path) in caught.value.message
    assert "torchdeck data fetch mnist" in caught.value.hint


def test_a_cifar_batch_is_not_unpickled_unless_its_checksum_is_right(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DataError, match="checksum is wrong"):
        prepared(opened(tmp_path, "cifar10"))
    assert not (tmp_path / "executed").exists()


def test_a_damaged_cifar_archive_is_told_and_nothing_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is damaged"):
        prepared(opened(tmp_path, "cifar10"))
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


def test_missing_data_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepared(opened(tmp_path, "cifar10", download=False))
    assert "torchdeck data fetch cifar10" in caught.value.hint


def test_a_folder_of_images_is_decoded_resized_and_cached(folder_of_images: Path) -> None:
    found, told = prepared(opened(folder_of_images, "image-folder", size=12))
    assert found.class_names == ("ants", "bees")
    assert found.train.images.shape == (10, 3, 12, 12)
    assert found.test.labels.tolist() == [0, 0, 1, 1]
    assert found.train.images[5:, 0].min() >= 195
    assert any("decoding" in step.message and step.total for step in told)
    _, again = prepared(opened(folder_of_images, "image-folder", size=12))
    assert not [step for step in again if "decoding" in step.message]


def test_a_changed_image_makes_a_new_cache(folder_of_images: Path) -> None:
    prepared(opened(folder_of_images, "image-folder", size=12))
    write_picture(folder_of_images / "images" / "train" / "ants" / "0.png", 99, (40, 40))
    found, _ = prepared(opened(folder_of_images, "image-folder", size=12))
    assert found.train.images[0, 0].max() == 99


def test_a_damaged_cache_is_made_again(folder_of_images: Path) -> None:
    prepared(opened(folder_of_images, "image-folder", size=12))
    (path,) = (folder_of_images / "cache").rglob("train-images.npy")
    path.write_bytes(path.read_bytes()[:-7])
    found, _ = prepared(opened(folder_of_images, "image-folder", size=12))
    assert found.train.images.shape == (10, 3, 12, 12)


def test_an_image_that_cannot_be_decoded_is_named_and_leaves_no_cache(folder_of_images: Path) -> None:
    bad = folder_of_images / "images" / "train" / "bees" / "3.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        prepared(opened(folder_of_images, "image-folder", size=12))
    assert str(bad) in caught.value.message
    assert not list((folder_of_images / "cache").iterdir())


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="0 class folders"):
        opened(tmp_path, "image-folder").facts()


def test_tiny_imagenet_takes_its_test_labels_from_the_annotations(tiny_imagenet: Path) -> None:
    found, _ = prepared(opened(tiny_imagenet, "tiny-imagenet"))
    assert found.class_names == ("goldfish", "bullfrog")
    assert found.test.labels.tolist() == [1, 0]
    assert found.train.images.shape == (6, 3, 64, 64)


def test_grey_pictures_become_three_equal_channels(tiny_imagenet: Path) -> None:
    found, _ = prepared(opened(tiny_imagenet, "tiny-imagenet"))
    grey = found.train.images[3]
    assert (grey == grey[:1]).all()


def test_streamed_data_lives_in_a_read_only_memory_map(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    found, _ = prepared(unchecked_mnist(tmp_path), streamed=True)
    plain, _ = prepared(unchecked_mnist(tmp_path))
    assert isinstance(found.train.images, np.memmap)
    assert not found.train.images.flags.writeable
    assert (found.train.images == plain.train.images).all()


def test_a_held_out_part_has_each_class_in_its_share(tmp_path: Path) -> None:
    dataset = opened(tmp_path, "digits", size=8, validation="held-out", validation_fraction=0.25)
    found, _ = prepared(dataset)
    whole, _ = prepared(opened(tmp_path, "digits", size=8))
    assert found.validation is not None
    assert len(found.validation.labels) == round(len(whole.train.labels) / 4)
    assert len(found.train.labels) + len(found.validation.labels) == len(whole.train.labels)
    shares = np.bincount(found.validation.labels) / np.bincount(whole.train.labels)
    assert np.abs(shares - 0.25).max() < 0.02


def test_the_held_out_part_depends_on_the_seed_alone(tmp_path: Path) -> None:
    def labels(seed: int) -> list[int]:
        found, _ = prepared(opened(tmp_path, "digits", size=8, validation="held-out"), seed)
        assert found.validation is not None
        return found.validation.labels.tolist()

    assert labels(1) == labels(1)
    assert labels(1) != labels(2)


def test_a_limit_keeps_the_classes_in_balance(tmp_path: Path) -> None:
    found, _ = prepared(opened(tmp_path, "synthetic", size=8, train_limit=100, test_limit=20))
    assert np.bincount(found.train.labels).tolist() == [10] * 10
    assert len(found.test.labels) == 20


def test_a_normalization_for_other_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use computed"):
        prepared(opened(tmp_path, "digits", normalization="cifar-a"))


def test_channel_statistics_are_those_of_the_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 9, 7), dtype=np.uint8)
    mean, std = channel_statistics(Split(images, np.zeros(50, np.int64)))
    pixels = images / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)))
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)))


def needs(root: Path, path: str) -> None:
    if not (root / path).exists():
        pytest.skip(f"{path} is not in {root}")


def real(root: Path, name: str, path: str, **settings: Any) -> Callable[[], tuple[Split, Split]]:
    needs(root, path)

    def read() -> tuple[Split, Split]:
        found, _ = prepared(opened(root, name, **settings))
        return found.train, found.test

    return read


def test_the_real_cifar10_has_the_known_mean_and_counts(real_data: Path) -> None:
    train, test = real(real_data, "cifar10", "cifar-10-batches-py/test_batch")()
    assert (len(train.labels), len(test.labels)) == (50_000, 10_000)
    mean, _ = channel_statistics(train)
    np.testing.assert_allclose(mean, (0.4914, 0.4822, 0.4465), atol=1e-4)


def test_the_real_mnist_has_the_known_mean_and_counts(real_data: Path) -> None:
    needs(real_data, "MNIST/raw")
    train, test = real(real_data, "mnist", "MNIST/raw")()
    assert (len(train.labels), len(test.labels)) == (60_000, 10_000)
    mean, std = channel_statistics(train)
    np.testing.assert_allclose((mean[0], std[0]), (0.1307, 0.3081), atol=1e-4)


def test_two_runs_do_not_download_the_same_files_at_once(tmp_path: Path) -> None:
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    steps = cast(
        "Generator[Progress]",
        download("cifar10", "import signal; signal.pause()", tmp_path, tmp_path, "its files", None),
    )
    assert next(steps).message == "waiting for another download of cifar10"
    os.close(lock)
    assert next(steps).message == "downloading cifar10"
    steps.close()
