"""Study declarations: from TOML files in `presets/studies/`, or as a grid or search space from the command line."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from .. import presets
from ..core.config import SECTIONS, parse_config, to_plain, with_overrides
from ..core.errors import ConfigError, Fault, InputError, nearest
from ..core.runs.reported import parse_reported
from ..core.settings import settings_of
from ..core.studies.model import SHOWS, Pruner, Sampler, Search, Study, StudyRun
from ..core.studies.search_space import check_space, is_distribution, override_texts, parse_distribution, values_of
from . import Preset

FOLDER = Path(__file__).parent / "studies"
MAX_RUNS = 10_000
MAX_STUDY_BYTES = 2**20
EXTRA_FIGURES = ("train_seconds", "utilization")
"""Figures that a study may report of a run in addition to metrics: seconds, and a fraction."""

_KEYS = ("title", "summary", "shows", "preset", "overrides", "reported", "notes", "runs", "grid")
_RUN_KEYS = ("label", "preset", "overrides", "reported")


def study_names() -> list[str]:
    """The names of the studies that come with Torchdeck, and of the user's own."""
    shipped = presets.names_in(FOLDER)
    return shipped + [name for name in presets.names_in(presets.user_folder() / "studies") if name not in shipped]


def load_declaration(name: str, overrides: Iterable[str] = ()) -> Study:
    """Load a study by its name, or by the path of a TOML file; `overrides` apply to all of its runs.

    Raises:
        InputError: there is none, or its file is damaged.
        ConfigError: all its faults at once, each with its path.
    """
    path = Path(name) if name.endswith(".toml") or "/" in name else _named(name)
    return _Declaration(path.stem, presets.read_toml(path, MAX_STUDY_BYTES), list(overrides)).study()


def _named(name: str) -> Path:
    if name not in study_names():
        raise InputError(f"no study named '{name}'", nearest(name, study_names()))
    shipped = FOLDER / f"{name}.toml"
    return shipped if shipped.exists() else presets.user_folder() / "studies" / f"{name}.toml"


class _Declaration:
    """Parses one TOML file to a study; collects all faults, so that they are reported together."""

    def __init__(self, name: str, content: Mapping[str, Any], given: list[str]) -> None:
        self.name = name
        self.content = content
        self.given = given
        self.faults: list[Fault] = []

    def study(self) -> Study:
        """The study; raises ConfigError with all faults of the file."""
        for key in self.content:
            if key not in _KEYS:
                self._fault(key, f"no such key of a study; {nearest(key, _KEYS)}")
        items = list(self._items())
        runs = [run for number, item in enumerate(items) if (run := self._run(number, item))]
        made = Study(
            name=self.name,
            title=self._text("title", self.name),
            summary=self._text("summary", ""),
            kind="grid" if "grid" in self.content else "list",
            preset=self._text("preset", runs[0].preset if runs else ""),
            runs=tuple(runs),
            shows=self._shows(),
            varied=varied(runs),
            reported=tuple(self._texts("reported")),
            notes=self._notes(),
            given=tuple(self.given),
        )
        if self.faults:
            raise ConfigError(self.faults)
        return made

    def _fault(self, path: str, message: str) -> None:
        self.faults.append(Fault(path, message))

    def _text(self, key: str, default: str) -> str:
        value = self.content.get(key, default)
        if isinstance(value, str):
            return value
        self._fault(key, "must be a string")
        return default

    def _texts(self, key: str) -> list[str]:
        value = self.content.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[Any]", value)):
            return cast("list[str]", value)
        self._fault(key, "must be a list of strings")
        return []

    def _table(self, key: str) -> dict[str, Any]:
        value = self.content.get(key, {})
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        self._fault(key, f"must be a section: write [{key}]")
        return {}

    def _shows(self) -> tuple[str, ...]:
        shows = self._texts("shows") or ["table"]
        for item in shows:
            if item not in SHOWS:
                self._fault("shows", f"there is no '{item}' to show; {nearest(item, SHOWS)}")
        return tuple(shows)

    def _notes(self) -> dict[str, str]:
        """The notes, by the setting or figure that they are about."""
        known = {*EXTRA_FIGURES, *(f"{section}.name" for section in SECTIONS), *(item.path for item in settings_of())}
        notes = {str(key): str(value) for key, value in self._table("notes").items()}
        for path in notes:
            if path not in known:
                self._fault(f"notes.{path}", f"no such setting; {nearest(path, sorted(known))}")
        return notes

    def _items(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The runs in the file, each with its path there."""
        if ("runs" in self.content) == ("grid" in self.content):
            self._fault("", "a study needs either [[runs]] or a [grid] of values; write one of them")
            return
        if "grid" in self.content:
            yield from (("grid", {"overrides": point}) for point in self._grid())
            return
        runs = self.content["runs"]
        if not isinstance(runs, list) or not all(isinstance(item, dict) for item in cast("list[Any]", runs)):
            self._fault("runs", "must be a list of tables: write [[runs]]")
            return
        if not runs:
            self._fault("runs", "is empty; write at least one [[runs]]")
        for number, item in enumerate(cast("list[dict[str, Any]]", runs)):
            for key in item:
                if key not in _RUN_KEYS:
                    self._fault(f"runs.{number + 1}.{key}", f"no such key of a run; {nearest(key, _RUN_KEYS)}")
            yield f"runs.{number + 1}", item

    def _grid(self) -> list[dict[str, Any]]:
        grid = self._table("grid")
        for path, values in grid.items():
            if not isinstance(values, list) or not values:
                self._fault(f"grid.{path}", "must be a list of values, such as [0.1, 0.05]")
                return []
        return points(grid)

    def _run(self, number: int, placed: tuple[str, Mapping[str, Any]]) -> StudyRun | None:
        place, item = placed
        named = str(item.get("preset", self.content.get("preset", "")))
        if not named:
            self._fault(place, "has no preset; write preset = at the top of the file, or in each run")
            return None
        own = item.get("overrides", {})
        if not isinstance(own, dict):
            self._fault(f"{place}.overrides", "must be a table of section.key = value")
            return None
        given = cast("dict[str, Any]", own)
        overrides = {**self._table("overrides"), **given}
        # Overrides that all runs share do not distinguish them.
        label = str(item.get("label", "")) or _label(given)
        try:
            return study_run(number, presets.load(named), overrides, self.given, label, _figures(item))
        except ConfigError as error:
            self.faults += [Fault(f"{place}.{fault.path}".rstrip("."), fault.message) for fault in error.faults]
        except InputError as error:
            self._fault(f"{place}.preset", str(error))
        return None


def _figures(item: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The reported figures of a run as plain tables.

    Raises:
        ConfigError: they are not valid.
    """
    given = item.get("reported", [])
    figures: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    for figure in figures:
        beside = isinstance(figure, dict) and figure.get("metric") in EXTRA_FIGURES
        if beside and set(figure) == {"metric", "at", "value"} and isinstance(figure["value"], int | float):
            continue
        try:
            parse_reported([figure])
        except ConfigError as error:
            messages = [fault.message for fault in error.faults]
            raise ConfigError([Fault("reported", f"{messages[0]} (or {' or '.join(EXTRA_FIGURES)})")]) from None
    return tuple(figures)


def study_run(
    number: int,
    preset: Preset,
    overrides: Mapping[str, Any],
    given: Iterable[str] = (),
    label: str = "",
    reported: tuple[Mapping[str, Any], ...] = (),
) -> StudyRun:
    """One run of a study: a preset with its overrides, then the overrides that the user gave for all runs.

    Raises:
        ConfigError: all faults at once.
    """
    config = preset.with_overrides([*override_texts(overrides), *given])
    return StudyRun(
        number, label or _label(overrides) or preset.name, overrides, preset.name, to_plain(config), reported
    )


def _label(overrides: Mapping[str, Any]) -> str:
    return " ".join(f"{path.partition('.')[2]}={_short(value)}" for path, value in overrides.items())


def _short(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def points(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of a grid's values, the last setting varying fastest.

    Raises:
        ConfigError: there are too many.
    """
    count = math.prod(len(values) for values in grid.values())
    if count > MAX_RUNS:
        raise ConfigError([Fault("grid", f"makes {count} runs, more than {MAX_RUNS}; give fewer values")])
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def varied(runs: Iterable[StudyRun]) -> tuple[str, ...]:
    """The settings in which runs differ, by dotted path; where the choice of a section differs, only its name."""
    flat = [
        {
            f"{section}.{key}": value
            for section, values in run.config.items()
            for key, value in cast("Mapping[str, Any]", values).items()
        }
        for run in runs
    ]
    paths = dict.fromkeys(path for settings in flat for path in settings)
    differ = [path for path in paths if any(settings.get(path) != flat[0].get(path) for settings in flat)]
    names = {path.partition(".")[0] for path in differ if path.endswith(".name")}
    return tuple(path for path in differ if path.partition(".")[0] not in names or path.endswith(".name"))


def grid_study(preset: Preset, texts: Iterable[str]) -> Study:
    """A grid study of a preset over `section.key=v1,v2` texts; texts with a single value apply to every run.

    Raises:
        ConfigError: all faults at once.
    """
    given = tuple(texts)
    grid, fixed = _split(given, lambda path, value: path != "data.path" and len(values_of(value)) > 1)
    if not grid:
        raise ConfigError([Fault("", "nothing varies; give a setting several values, such as optimizer.lr=0.1,0.05")])
    lists = {path: values_of(value) for path, value in grid.items()}
    runs = [study_run(number, preset, point, fixed) for number, point in enumerate(points(lists))]
    return Study(
        name=f"{preset.name}-sweep",
        title=f"{preset.title}, over {', '.join(lists)}",
        summary="",
        kind="grid",
        preset=preset.name,
        runs=tuple(runs),
        shows=("table", "curves"),
        varied=tuple(lists),
        given=given,
    )


def search_study(
    preset: Preset, texts: Iterable[str], trials: int, pruner: Pruner, sampler: Sampler = "tpe", seed: int = 1
) -> Study:
    """A search over texts such as `optimizer.lr=log(1e-4,1e-1)`; texts with a single value apply to every trial.

    Raises:
        ConfigError: all faults at once.
    """
    given = tuple(texts)
    ranges, fixed = _split(given, lambda _, value: is_distribution(value))
    if not ranges:
        raise ConfigError([Fault("", "nothing is searched; write a range, such as optimizer.lr='log(1e-4,1e-1)'")])
    config = parse_config(with_overrides(preset.content, fixed))
    space = {path: parse_distribution(path, value) for path, value in ranges.items()}
    base = to_plain(config)
    check_space(base, space)
    split = "validation" if config.data.validation == "held-out" else "test"
    return Study(
        name=f"{preset.name}-search",
        title=f"{preset.title}, searched over {', '.join(space)}",
        summary="",
        kind="search",
        preset=preset.name,
        runs=(),
        shows=("table", "curves"),
        varied=tuple(space),
        search=Search(space, trials, base, sampler, pruner, f"{split}/accuracy", "maximize", seed),
        given=given,
    )


def _split(texts: Iterable[str], varies: Any) -> tuple[dict[str, str], list[str]]:
    """Split texts into values that vary, by path, and fixed overrides."""
    found: dict[str, str] = {}
    fixed: list[str] = []
    for text in texts:
        path, equals, value = text.partition("=")
        if equals and re.fullmatch(r"\s*\w+\.\w+\s*", path) and varies(path.strip(), value):
            found[path.strip()] = value
        else:
            fixed.append(text)
    return found, fixed
