"""What every reader of a file from others refuses: links, and pickles of anything but arrays."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_counts import Faults

from torchdeck.core.data.cifar import ArrayUnpickler
from torchdeck.core.events import RunEvent
from torchdeck.core.runs.index import list_runs, read_header
from torchdeck.core.runs.reader import load_record
from torchdeck.core.utils.files import open_regular, read_json, read_regular
from torchdeck.core.utils.locks import is_held


def refused(read: Callable[[Path], Any], path: Path) -> bool:
    """Whether a reader raises an OSError, or says that it knows nothing."""
    try:
        return read(path) in (None, {})
    except OSError:
        return True


@pytest.mark.parametrize("read", [open_regular, read_regular, read_json, is_held])
def test_no_reader_follows_a_link_to_a_file_of_the_reader_s_own(
    read: Callable[[Path], Any], tmp_path: Path, faults: Faults
) -> None:
    private = tmp_path / "private"
    private.write_text('{"secret": 1}')
    (tmp_path / "link").symlink_to(private)
    assert not refused(read, private)
    is_refused = refused(read, tmp_path / "link")
    faults("links in the place of a file", lost=int(not is_refused))
    assert is_refused


@pytest.mark.parametrize("name", ["run.json", "events.jsonl", "summary.json", "notes.json", "curves.json"])
def test_a_file_of_a_run_that_is_a_link_says_nothing(
    train: Callable[..., list[RunEvent]], small: Any, tmp_path: Path, faults: Faults, name: str
) -> None:
    train(small({"training.epochs": 1}))
    (folder,) = (tmp_path / "logs").iterdir()
    (folder / "notes.json").write_text(json.dumps({"tags": ["secret"], "note": ""}))
    for cache in ("summary.json", "curves.json"):
        if name in ("events.jsonl", "notes.json", "run.json"):
            (folder / cache).unlink(missing_ok=True)
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    record, (row,) = load_record(folder), list_runs(tmp_path / "logs")
    match name:
        case "run.json":
            told = read_header(folder)
        case "events.jsonl":
            told = record.epochs
        case "notes.json":
            told = row.tags
        case _:  # of a cache, the log is read instead
            told = () if record.epochs else "the cache"
    faults("links in the place of a file", lost=int(bool(told)))
    assert not told


def calls(function: Callable[..., object], *arguments: object) -> bytes:
    """A pickle that calls a function when it is loaded."""

    class Call:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return function, arguments

    return pickle.dumps({"data": Call()})


@pytest.mark.parametrize(
    "function", [os.mkdir, os.system, eval, getattr, np.load, np.fromfile, print, __import__, pickle.loads, bytearray]
)
def test_no_pickle_of_a_data_set_calls_anything_but_what_makes_arrays(
    function: Callable[..., object], tmp_path: Path, faults: Faults
) -> None:
    target = tmp_path / "made"
    content = calls(function, str(target))
    with pytest.raises(pickle.UnpicklingError, match="does not belong to an array"):
        ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    faults("pickles that call a function", lost=int(target.exists()))
    assert not target.exists()


@pytest.mark.parametrize("protocol", range(3))
def test_a_pickle_of_arrays_is_read(protocol: int) -> None:
    content = pickle.dumps({b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2]}, protocol)
    found = ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    assert found["labels"] == [1, 2]
