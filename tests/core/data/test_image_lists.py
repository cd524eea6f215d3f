"""Lists of image files with their classes, as spreadsheets and competitions write them."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pictures import image_folder, write_noise

from torchdeck.core.errors import DataError


def write_list(root: Path, content: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    for number in range(8):
        write_noise(root / "images" / f"{number}.png", number)
    (root / name).write_text(content, encoding=encoding)
    return root / name


def rows(separator: str = ",", head: str = "path,label,split", ending: str = ".png") -> str:
    splits = ["train"] * 4 + ["val"] * 2 + ["Test"] * 2
    lines = [head, *(f"images/{n}{ending},{('ant', 'bee')[n % 2]},{split}" for n, split in enumerate(splits))]
    return "\n".join(lines).replace(",", separator) + "\n"


@pytest.mark.parametrize(
    ("content", "name", "encoding"),
    [
        (rows(), "labels.csv", "utf-8"),
        (rows(";"), "labels.csv", "utf-8-sig"),
        (rows("\t"), "labels.tsv", "utf-8"),
        (rows(ending=""), "labels.csv", "utf-8"),
    ],
)
def test_a_list_gives_files_their_classes_and_splits(tmp_path: Path, content: str, name: str, encoding: str) -> None:
    dataset = image_folder(write_list(tmp_path, content, name, encoding))
    assert {split: len(dataset.listing(split)) for split in dataset.splits} == {"train": 4, "validation": 2, "test": 2}
    assert dataset.layout.classes == ["ant", "bee"]
    test = dataset.listing("test")
    assert [test.path(place) for place in range(2)] == [tmp_path / "images" / f"{number}.png" for number in (6, 7)]
    assert test.labels.tolist() == [0, 1]


def test_columns_and_the_folder_of_the_images_have_the_names_that_settings_give(tmp_path: Path) -> None:
    content = "id,breed\n" + "".join(f"{number},{('ant', 'bee')[number % 2]}\n" for number in range(8))
    path = write_list(tmp_path, content)
    dataset = image_folder(path, path_column="id", label_column="breed", images=tmp_path / "images")
    found = [(name, split) for split in dataset.splits for name in dataset.listing(split).names]
    assert sorted(name for name, _ in found) == [f"{number}.png" for number in range(8)]
    assert {split for _, split in found} == {"train", "test"}


def test_a_line_that_repeats_another_is_named(tmp_path: Path) -> None:
    dataset = image_folder(write_list(tmp_path, rows() + "images/0.png,ant,train\n"))
    assert len(dataset.listing("train")) == 4
    assert dataset.notes() == ("ignored: images/0.png (listed again)",)


@pytest.mark.parametrize(
    ("content", "settings", "message", "fix"),
    [
        ("file,label\na.png,x\n", {}, "no column 'path'", "data.path_column"),
        ("path,species\na.png,x\n", {}, "no column 'label'", "data.label_column"),
        (rows() + "images/0.png,bee,train\n", {}, "two labels, ant and bee (line 10)", "one class"),
        (rows() + ",bee,train\n", {}, "line 10", "complete or delete"),
        (rows() + "images/9.png,bee,later\n", {}, "the split 'later'", "train, val or test"),
        ("path,label,split\nimages/0.png,ant,test\n", {}, "no training images", "split train"),
        ("path,label\nimages/0.png,ant\nimages/1.png,ant\n", {}, "has 1 class: ant", "two or more"),
        (b"path,label\n\xff\xfe,x\n".decode("latin-1"), {}, "cannot be read", "UTF-8"),
    ],
)
def test_a_list_that_cannot_be_read_names_the_line_or_the_setting(
    tmp_path: Path, content: str, settings: Mapping[str, str], message: str, fix: str
) -> None:
    path = write_list(tmp_path, content, encoding="latin-1")
    with pytest.raises(DataError) as caught:
        image_folder(path, **settings).facts()
    assert message in caught.value.message
    assert fix in str(caught.value)


def test_a_folder_with_a_list_and_no_classes_points_to_the_list(tmp_path: Path) -> None:
    path = write_list(tmp_path, rows())
    with pytest.raises(DataError, match=f"data.path={path}"):
        image_folder(tmp_path).facts()
