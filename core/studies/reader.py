"""Read study.json and changes.jsonl as a `Study`; a damaged value is dropped without the rest."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args

from ..errors import LogsError
from ..runs.layout import RUN_ID
from ..utils.flatten import as_sequence, differing_paths, flatten
from ..utils.validation import Reader, finite, list_of, mapping, one_of, text, whole_number
from .journal import DECLARED
from .model import SHOWS, Direction, Json, Kind, Pruner, RunState, Sampler, Search, Study, StudyRun, Wish

SCHEMA = 1
MIN_READER = 1
MAX_LABEL_LENGTH = 500
"""Characters; every line of an export contains the label, and one of a megabyte would fill the disk."""

_ANEW = "start the study again with --new"


def study_of(folder: Path, content: Any) -> Study:
    """The study in the content of its files; the states of its runs are not checked against the run folders.

    Raises:
        LogsError: the content is missing, damaged as a whole, or of a newer version.
    """
    given = cast("Json", content) if isinstance(content, dict) else {}
    if not isinstance(given.get("min_reader"), int) or not isinstance(given.get("runs"), list):
        raise LogsError(f"{folder / DECLARED} is missing or damaged", _ANEW)
    if given["min_reader"] > SCHEMA:
        raise LogsError(f"{folder / DECLARED} was written by a newer Torchdeck", "update to read it")
    runs = tuple(run_of(place, item) for place, item in enumerate(cast("list[Any]", given["runs"])))
    known = _read(given, _STUDY, name="", title="", summary="", kind="list", preset="")
    known["name"] = known["name"] or folder.name
    known["title"] = known["title"] or known["name"]
    known["varied"] = known.get("varied") or tuple(differing_paths([flatten(run.config) for run in runs]))
    return Study(**known, runs=runs, study_id=folder.name)


def run_of(place: int, item: Any) -> StudyRun:
    """The run at index `place` of a study's list of runs."""
    known = _read(item, _RUN, label="", overrides={}, preset="", config={})
    changes = ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in known["overrides"].items())
    known["label"] = (known["label"] or changes or f"run {place}")[:MAX_LABEL_LENGTH]
    return StudyRun(number=place, **known)


def check_trainable(folder: Path, study: Study) -> None:
    """Check that damage has not destroyed the settings that the runs of a study need.

    Raises:
        LogsError: settings are missing.
    """
    lost = next((f"run {run.number}" for run in study.runs if not run.config), "")
    search = study.search
    if (search or study.kind == "search") and not (search and search.space and search.base and search.trials):
        lost = "the search"
    if lost:
        raise LogsError(f"{folder / DECLARED} is damaged: {lost} has no settings", _ANEW)


def _read(content: Any, readers: Mapping[str, Reader], **found: Any) -> Json:
    """The valid values of a table, over the defaults in `found`."""
    for key, reader in readers.items():
        with suppress(KeyError, ValueError):
            found[key] = reader(mapping(content)[key])
    return found


def _run_id(value: Any) -> str:
    if not RUN_ID.fullmatch(text(value)):
        raise ValueError("not an id")
    return value


def _shows(value: Any) -> tuple[str, ...]:
    return tuple(show for show in SHOWS if show in as_sequence(value)) or ("table",)


def _statement(item: Any) -> str:
    """A reported statement: a string, or a table of figures as text."""
    table = cast("Json", item) if isinstance(item, dict) else {}
    return ", ".join(f"{key} {value}" for key, value in table.items()) or str(item)


def _notes(value: Any) -> dict[str, str]:
    return {key: str(item) for key, item in mapping(value).items()}


def _importance(value: Any) -> dict[str, float]:
    return _read(value, dict.fromkeys(mapping(value), finite))


def _search(value: Any) -> Search:
    return Search(**_read(mapping(value), _SEARCH, space={}, trials=0, base={}))


_RUN: Mapping[str, Reader] = {
    **dict.fromkeys(("label", "preset", "reason", "place", "parent"), text),
    **dict.fromkeys(("overrides", "config"), mapping),
    "reported": list_of(mapping),
    "run_id": _run_id,
    "state": one_of(*get_args(RunState)),
    "wish": one_of(*get_args(Wish)),
    "deaths": whole_number,
}
_SEARCH: Mapping[str, Reader] = {
    **dict.fromkeys(("space", "base"), mapping),
    **dict.fromkeys(("trials", "seed"), whole_number),
    "sampler": one_of(*get_args(Sampler)),
    "pruner": one_of(*get_args(Pruner)),
    "metric": text,
    "direction": one_of(*get_args(Direction)),
    "importance": _importance,
}
_STUDY: Mapping[str, Reader] = {
    **dict.fromkeys(("name", "title", "summary", "preset"), text),
    **dict.fromkeys(("varied", "given", "tags"), list_of(str)),
    "kind": one_of(*get_args(Kind)),
    "shows": _shows,
    "reported": list_of(_statement),
    "notes": _notes,
    "search": _search,
    "created": finite,
}
