"""The declaration of a study as its folder holds it, read so that a damaged part costs only that part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..errors import InputError, LogsError, nearest
from ..runs.index import RunRow, find_run, list_runs
from ..runs.layout import RUN_ID
from ..runs.reported import ReportedFigure, claims
from ..studies.journal import read_content
from ..studies.store import find_study, matches, meant, names_of, study_folders
from ..utils.flatten import flat, mapping, sequence, unlike

SCHEMA = 1
Show = Literal["table", "curves", "landscape", "regularization", "batch-size", "comparison", "time-to-accuracy"]
SHOWS: tuple[Show, ...] = get_args(Show)
State = Literal["waiting", "running", "completed", "failed", "pruned", "stopped"]
STATES: tuple[State, ...] = get_args(State)
LONGEST_LABEL = 500
"""Characters: a label stands in every line of an export, and one of a megabyte would fill the disk."""
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class DeclaredRun:
    """One configuration of a study; its run's own directory knows better than `state` what became of it."""

    number: int
    label: str
    overrides: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    preset: str = ""
    config: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    run_id: str | None = None
    state: State = "waiting"
    reason: str = ""
    reported: tuple[ReportedFigure, ...] = ()


@dataclass(frozen=True, slots=True)
class DeclaredSearch:
    """What a search looked for: the space by dotted path, how, and how much each setting mattered in the end."""

    space: Mapping[str, Any]
    trials: int
    sampler: str
    pruner: str
    metric: str
    direction: str
    importance: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a study was made to show, and its runs; the folder is None for runs that were only put side by side."""

    study_id: str
    name: str
    title: str
    runs: tuple[DeclaredRun, ...]
    logs: Path
    folder: Path | None = None
    summary: str = ""
    shows: tuple[Show, ...] = ("table", "curves")
    kind: str = "list"
    created: float = 0.0
    preset: str = ""
    reported: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    varied: tuple[str, ...] = ()
    search: DeclaredSearch | None = None
    given: tuple[str, ...] = ()


def read_study(folder: Path) -> Declared:
    """The study of a folder.

    Raises:
        LogsError: study.json is missing, damaged as a whole, or of a newer version.
    """
    return declared_in(folder, read_content(folder))


def declared_in(folder: Path, content: Any) -> Declared:
    """The study that the content of its files declares, in JSON's types.

    Raises:
        LogsError: the content is missing, damaged as a whole, or of a newer version.
    """
    if not isinstance(content, dict) or not isinstance(content.get("min_reader"), int):
        raise LogsError(f"{folder / 'study.json'} is missing or damaged", "name another study")
    if content["min_reader"] > SCHEMA:
        raise LogsError(f"{folder / 'study.json'} was written by a newer Torchdeck", "update to read it")
    found = cast("Mapping[str, Any]", content)
    runs = tuple(_run(place, item) for place, item in enumerate(sequence(found.get("runs"))))
    shows: tuple[Show, ...] = tuple(show for show in SHOWS if show in sequence(found.get("shows")))
    return Declared(
        study_id=folder.name,
        name=_text(found, "name") or folder.name,
        title=_text(found, "title") or _text(found, "name") or folder.name,
        summary=_text(found, "summary"),
        runs=runs,
        logs=folder.parent,
        folder=folder,
        shows=shows or ("table",),
        kind=_text(found, "kind") or "list",
        created=_number(found.get("created")) or 0.0,
        preset=_text(found, "preset"),
        reported=tuple(map(_told, sequence(found.get("reported")))),
        notes={str(key): str(value) for key, value in mapping(found.get("notes")).items()},
        varied=tuple(map(str, sequence(found.get("varied")))) or _varied(runs),
        search=_search(mapping(found.get("search"))),
        given=tuple(map(str, sequence(found.get("given")))),
    )


def declared_of(rows: Sequence[RunRow], title: str = "") -> Declared:
    """Runs put side by side as if a study had made them; settings that the runs differ in are the varied ones."""
    assert rows, "there is nothing to put side by side"
    runs = tuple(
        DeclaredRun(
            place, row.name or row.preset or row.id, _NOTHING, row.preset, mapping(row.header.get("config")), row.id
        )
        for place, row in enumerate(rows)
    )
    name = title or " · ".join(dict.fromkeys(run.label for run in runs))
    return Declared("", name, name, runs, rows[0].folder.parent, varied=_varied(runs))


def _varied(runs: Sequence[DeclaredRun]) -> tuple[str, ...]:
    return tuple(unlike([flat(run.config) for run in runs])) if runs else ()


def _run(place: int, item: Any) -> DeclaredRun:
    known, number = mapping(item), mapping(item).get("number")
    overrides, run_id = mapping(known.get("overrides")), known.get("run_id")
    changes = ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in overrides.items())
    state = known.get("state")
    return DeclaredRun(
        number=number if isinstance(number, int) and not isinstance(number, bool) else place,
        label=(_text(known, "label") or changes or f"run {place}")[:LONGEST_LABEL],
        overrides=overrides,
        preset=_text(known, "preset"),
        config=mapping(known.get("config")),
        run_id=run_id if isinstance(run_id, str) and RUN_ID.fullmatch(run_id) else None,
        state=state if state in STATES else "waiting",
        reason=_text(known, "reason"),
        reported=claims(known.get("reported")),
    )


def _told(item: Any) -> str:
    """A reported statement: a text, or a table of which the values are told."""
    return ", ".join(f"{key} {value}" for key, value in mapping(item).items()) or str(item)


def _search(content: Mapping[str, Any]) -> DeclaredSearch | None:
    if not content:
        return None
    weights = {str(key): _number(value) for key, value in mapping(content.get("importance")).items()}
    return DeclaredSearch(
        space=mapping(content.get("space")),
        trials=int(_number(content.get("trials")) or 0),
        sampler=_text(content, "sampler"),
        pruner=_text(content, "pruner"),
        metric=_text(content, "metric") or "test/accuracy",
        direction=_text(content, "direction") or "maximize",
        importance={key: value for key, value in weights.items() if value is not None},
    )


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        return None
    return float(value)


# Finding


def find_declared(logs: Path, reference: str) -> Declared:
    """The study that a reference means.

    Raises:
        InputError: none, or more than one.
    """
    return read_study(find_study(logs, reference))


def find_either(logs: Path, reference: str) -> Declared | RunRow:
    """The run or the study that a reference means.

    Raises:
        InputError: none, or more than one.
    """
    folders = study_folders(logs)
    studies = meant(folders, reference)
    if not studies:
        return _find_run(logs, reference, folders)
    runs = [row.id for row in list_runs(logs) if matches(row.id, reference)]
    if runs and studies[0].name != reference:
        listed = ", ".join([*(folder.name for folder in studies), *runs][:5])
        raise InputError(f"'{reference}' means {len(studies) + len(runs)} runs and studies ({listed})", "write more")
    return find_declared(logs, reference)


def _find_run(logs: Path, reference: str, studies: Sequence[Path]) -> RunRow:
    """The run that a reference means; where it means none, the studies are named as well."""
    try:
        return find_run(logs, reference)
    except InputError as error:
        if not studies or not error.message.startswith("no run '"):
            raise
        known = [*names_of(studies), *(row.id[-4:] for row in list_runs(logs)[-5:])]
        raise InputError(f"no run or study '{reference}' in {logs}", nearest(reference, known)) from None
