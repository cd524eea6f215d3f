"""Folders of images as people lay them out: each is read right, or refused with what to change."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_counts import Faults
from pictures import image_folder, write_classes, write_picture

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.data.dataset import SplitName
from torchdeck.core.data.image_folder import ImageFolder
from torchdeck.core.data.prepare import Prepared, check, prepare
from torchdeck.core.errors import ConfigError, DataError
from torchdeck.core.events import EpochCompleted, RunEvent, RunStarted, WarningRaised
from torchdeck.core.training.plan import make_plan
from torchdeck.core.utils.files import read_json
from torchdeck.core.utils.generators import run_to_end


def prepared(dataset: ImageFolder) -> Prepared:
    return run_to_end(prepare(dataset, 1, streamed=False))


def counts(dataset: ImageFolder) -> dict[SplitName, int]:
    return {split: len(dataset.listing(split)) for split in dataset.splits}


def ignored(dataset: ImageFolder) -> dict[str, str]:
    return {item.path: item.why for item in dataset.layout.ignored}


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
@pytest.mark.parametrize("validation", ["val", "valid", "Validation", "dev"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_three_splits_are_known_by_any_of_their_names(tmp_path: Path, train: str, validation: str, test: str) -> None:
    for name, count in ((train, 3), (validation, 2), (test, 1)):
        write_classes(tmp_path / "photos" / name, {"ants": count, "bees": count})
    dataset = image_folder(tmp_path / "photos")
    assert counts(dataset) == {"train": 6, "validation": 4, "test": 2}
    assert dataset.layout.folders == {"train": train, "validation": validation, "test": test}
    assert dataset.facts().validation_images == 4
    assert not dataset.notes()


@pytest.mark.parametrize("other", ["val", "valid", "test", "dev"])
def test_one_split_beside_training_is_the_test_split(tmp_path: Path, other: str) -> None:
    write_classes(tmp_path / "photos" / "train", {"ants": 3, "bees": 3})
    write_classes(tmp_path / "photos" / other, {"ants": 2, "bees": 2})
    dataset = image_folder(tmp_path / "photos")
    assert counts(dataset) == {"train": 6, "test": 4}
    assert {name.split("/")[0] for name in dataset.listing("test").names} == {other}


@pytest.mark.parametrize(
    ("splits", "chosen_on"), [(("train", "val", "test"), "validation"), (("train", "val"), "test")]
)
def test_the_validation_split_chooses_the_best_epoch_and_the_record_says_so(
    tmp_path: Path,
    small: Callable[..., ExperimentConfig],
    train: Callable[..., list[RunEvent]],
    splits: tuple[str, ...],
    chosen_on: str,
) -> None:
    for split in splits:
        write_classes(tmp_path / "photos" / split, {"ants": 4, "bees": 4})
    path = str(tmp_path / "photos")
    config = small({"data.name": "image-folder", "data.path": path, "data.size": 16, "training.batch_size": 4})
    events = train(config)
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    epochs = [event for event in events if isinstance(event, EpochCompleted)]
    assert started.chosen_on == chosen_on
    assert ("validation/accuracy" in epochs[0].metrics) == (chosen_on == "validation")
    figures = [epoch.metrics[f"{chosen_on}/accuracy"] for epoch in epochs]
    assert [epoch.best for epoch in epochs] == [not any(figures[number] <= before for before in figures[:number])
                                                for number in range(len(figures))]  # fmt: skip


def test_a_part_held_out_beside_a_validation_split_is_refused(
    tmp_path: Path, small: Callable[..., ExperimentConfig]
) -> None:
    for split in ("train", "val", "test"):
        write_classes(tmp_path / "photos" / split, {"ants": 4, "bees": 4})
    asked = {"data.name": "image-folder", "data.path": str(tmp_path / "photos"), "data.validation": "held-out"}
    with pytest.raises(ConfigError, match="validation split of its own"):
        make_plan(small({**asked, "training.batch_size": 4}), tmp_path)


def test_without_a_test_split_a_hash_of_the_path_chooses_and_more_files_move_none(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"ants": 60, "bees": 60})
    before = {split: set(image_folder(tmp_path / "photos").listing(split).names) for split in ("train", "test")}
    assert 10 < len(before["test"]) < 40
    for number in range(100, 130):
        write_picture(tmp_path / "photos" / "ants" / f"{number}.png")
    after = image_folder(tmp_path / "photos")
    assert before["test"] <= set(after.listing("test").names)
    assert before["train"] <= set(after.listing("train").names)
    half = image_folder(tmp_path / "photos", test_fraction=0.5)
    assert before["test"] < set(half.listing("test").names)


def test_a_class_that_the_fraction_leaves_without_a_test_image_gets_one_and_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"ants": 60, "bees": 60, "crickets": 3, "moths": 1})
    dataset = image_folder(tmp_path / "photos", test_fraction=0.001)
    places = {name: place for place, name in enumerate(dataset.layout.classes)}
    tested = Counter(dataset.listing("test").labels.tolist())
    assert tested[places["crickets"]] == 1
    assert tested[places["moths"]] == 0
    assert any("lowest hash" in note and "crickets" in note for note in dataset.notes())
    assert any(note.startswith("no test images: moths") for note in dataset.notes())


def test_images_below_train_alone_are_divided(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos" / "train", {"ants": 40, "bees": 40})
    write_picture(tmp_path / "photos" / "test" / "unlabelled.png")
    dataset = image_folder(tmp_path / "photos")
    assert sum(counts(dataset).values()) == 80
    assert ignored(dataset) == {"test/unlabelled.png": "not in the folder of a class"}
    assert any(note.startswith("test is not used") for note in dataset.notes())


def test_what_is_no_image_of_a_class_is_named_and_taken_for_none(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for split in ("train", "test"):
        write_classes(root / split, {"ants": 3, "bees": 3})
    write_classes(root / "test", {"wasps": 2})
    write_classes(root / "other", {"ants": 2})
    for name in ("__MACOSX/train/ants/._0.png", "train/.ipynb_checkpoints/0-checkpoint.png", "train/ants/._0.png",
                 "train/bees/Thumbs.db", "test/.DS_Store", "train/ants/notes.txt", "readme.md"):  # fmt: skip
        write_picture(root / "x.png")
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "x.png").rename(root / name)
    (root / "train" / "empty").mkdir()
    os.mkfifo(root / "train" / "ants" / "pipe.png")
    dataset = image_folder(root)
    assert dataset.layout.classes == ["ants", "bees"]
    assert counts(dataset) == {"train": 6, "test": 6}
    assert ignored(dataset) == {
        "__MACOSX": "made by the operating system",
        "other": "not train, validation or test",
        "readme.md": "not in the folder of a class",
        "test/.DS_Store": "hidden",
        "test/wasps": "a class without training images",
        "train/.ipynb_checkpoints": "hidden",
        "train/ants/._0.png": "hidden",
        "train/ants/notes.txt": "not an image by its ending",
        "train/ants/pipe.png": "not a regular file",
        "train/bees/Thumbs.db": "made by the operating system",
        "train/empty": "a folder without images",
    }
    files = {item.path: item.files for item in dataset.layout.ignored}
    assert (files["other"], files["test/wasps"], files["train/empty"]) == (2, 2, 0)
    said = "\n".join(dataset.notes())
    assert all(path in said for path in ignored(dataset))


def test_classes_without_test_images_are_named_and_trained_on(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos" / "train", {"ants": 3, "bees": 3, "moths": 3})
    write_classes(tmp_path / "photos" / "test", {"ants": 2, "bees": 2})
    dataset = image_folder(tmp_path / "photos")
    assert dataset.facts().spec.classes == 3
    assert dataset.notes() == ("no test images: moths (trained on, but without figures of their own)",)


def test_folders_may_be_links_even_to_a_folder_above(tmp_path: Path) -> None:
    write_classes(tmp_path / "elsewhere", {"ants": 3})
    write_classes(tmp_path / "photos", {"bees": 3})
    (tmp_path / "photos" / "ants").symlink_to(tmp_path / "elsewhere" / "ants")
    (tmp_path / "photos" / "bees" / "again").symlink_to(tmp_path / "photos")
    dataset = image_folder(tmp_path / "photos")
    assert sum(counts(dataset).values()) == 6
    assert ignored(dataset) == {"bees/again": "a link to a folder above it"}


@pytest.mark.parametrize(
    ("folders", "message", "fix"),
    [
        (("train/a", "train/b", "Train/a"), "two train folders: Train and train", "rename or delete"),
        (("train/a", "train/b", "val/a", "valid/a"), "two validation folders: val and valid", "rename or delete"),
        (("ants", "bees", "test"), "has test/ but no train/", "into train/, or rename"),
        (("photos/ants", "photos/bees"), "1 class folders with images", "set data.path="),
        (("ants",), "1 class folders with images", "into its own folder"),
        (("train/ants", "test/bees"), "1 class folders with images", "into its own folder"),
    ],
)
def test_a_layout_that_cannot_be_told_is_refused_with_what_to_change(
    tmp_path: Path, folders: tuple[str, ...], message: str, fix: str
) -> None:
    for name in folders:
        write_picture(tmp_path / "photos" / name / "0.png")
    with pytest.raises(DataError) as caught:
        image_folder(tmp_path / "photos").facts()
    assert message in caught.value.message
    assert fix in str(caught.value)


def damaged_folder(root: Path) -> list[Path]:
    """A folder of images with four that cannot be read, for a reason each."""
    for split in ("train", "test"):
        write_classes(root / split, {"ants": 4, "bees": 4})
    whole = (root / "train/ants/0.png").read_bytes()
    (root / "train/ants/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "train/bees/text.jpg").write_bytes(b"no picture")
    (root / "test/ants/empty.png").write_bytes(b"")
    (root / "test/bees/gone.png").symlink_to(root / "nowhere.png")
    return [
        root / name
        for name in ("train/ants/cut.png", "train/bees/text.jpg", "test/ants/empty.png", "test/bees/gone.png")
    ]


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path: Path, faults: Faults) -> None:
    bad = damaged_folder(tmp_path / "photos")
    faults("damaged images", len(bad))
    for steps in (prepare(image_folder(tmp_path / "photos"), 1, False), check(image_folder(tmp_path / "photos"))):
        with pytest.raises(DataError) as caught:
            list(steps)
        assert caught.value.message.startswith("4 images cannot be decoded")
        assert all(str(path) in caught.value.message for path in bad)
        assert "data.on_damage=skip" in str(caught.value)


def test_files_that_cannot_be_read_are_left_out_where_asked_and_counted_in_the_record(
    tmp_path: Path,
    small: Callable[..., ExperimentConfig],
    train: Callable[..., list[RunEvent]],
    the_run: Callable[[], Path],
) -> None:
    bad = damaged_folder(tmp_path / "photos")
    changes: dict[str, Any] = {"data.name": "image-folder", "data.path": str(tmp_path / "photos"), "data.size": 16}
    events = train(small({**changes, "data.on_damage": "skip", "training.batch_size": 4}))
    (started,) = [event for event in events if isinstance(event, RunStarted)]
    assert (started.train_images, started.test_images) == (8, 8)
    (warning,) = [event.message for event in events if isinstance(event, WarningRaised)]
    assert "left out" in warning
    assert all(str(path) in warning for path in bad)
    assert read_json(the_run() / "run.json")["data"]["left_out"] == 4


def test_what_is_left_out_changes_no_other_image(tmp_path: Path) -> None:
    damaged_folder(tmp_path / "photos")
    dataset = image_folder(tmp_path / "photos", on_damage="skip")
    first, again = prepared(dataset), prepared(dataset)
    names = [name for name in dataset.listing("train").names if not name.endswith(("cut.png", "text.jpg"))]
    (tmp_path / "photos" / "train/ants/cut.png").unlink()
    (tmp_path / "photos" / "train/bees/text.jpg").unlink()
    whole = prepared(image_folder(tmp_path / "photos", on_damage="skip"))
    assert len(names) == 8
    for found in (first, again):
        assert np.array_equal(found.train.take(slice(None)), whole.train.take(slice(None)))
        assert np.array_equal(found.train.labels, whole.train.labels)
        assert len(found.left_out) == 4
    assert len(whole.left_out) == 2
