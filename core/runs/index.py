"""List, find and filter the runs of a logs folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path
from typing import Any, cast

from ..errors import InputError, TorchdeckError, nearest
from ..utils.files import is_regular, read_json
from ..utils.validation import Reader, list_of, mapping, number, optional, text, valid_items, whole_number
from .layout import RUN_ID, SCHEMA, is_locked, is_run
from .reader import load_record
from .record import read_summary, summarize

Json = Mapping[str, Any]
SETTINGS = "settings.json"
"""The settings of the next attempts of a run that was given others than in run.json."""
ENDED = ("completed", "stopped", "failed")
_NO_JSON: Json = {}
_HEADER: Mapping[str, Reader] = {
    **dict.fromkeys(("run_id", "preset", "name", "config_sha256"), text),
    **dict.fromkeys(("parameters", "forward_flops"), whole_number),
    **dict.fromkeys(("config", "data", "environment"), mapping),
    "created": number,
    "tags": list_of(text),
    "reported": list_of(mapping),
    "study": optional(mapping),
}
_NOTES: Mapping[str, Reader] = {"tags": list_of(text), "note": text}


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as lists and tables show it: from its run.json, summary.json and notes.json, and its lock."""

    id: str
    folder: Path
    status: str
    problem: str = ""
    header: Json = field(default_factory=lambda: _NO_JSON)
    summary: Json = field(default_factory=lambda: _NO_JSON)
    notes: Json = field(default_factory=lambda: _NO_JSON)

    @property
    def preset(self) -> str:
        """The preset that the run was made from."""
        return str(self.header.get("preset", ""))

    @property
    def name(self) -> str:
        """The name that the user gave the run."""
        return str(self.header.get("name", ""))

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags, those given at the start and those added later."""
        given = [*_list(self.header.get("tags")), *_list(self.notes.get("tags"))]
        return tuple(dict.fromkeys(str(tag) for tag in given))

    @property
    def study(self) -> str:
        """The id of the study that the run belongs to, "" without one."""
        return str(_mapping(self.header.get("study")).get("id", ""))

    @property
    def created(self) -> float:
        """When the run was created, as Unix time."""
        created = self.header.get("created")
        # An integer of a hundred digits does not fit into a float.
        return float(created) if isinstance(created, int | float) and abs(created) < 1e12 else 0.0

    def figure(self, metric: str) -> float | None:
        """A metric of the best epoch, or of the last one where the best has none."""
        for kind in ("best", "final"):
            value = _mapping(self.summary.get(kind)).get(metric)
            if isinstance(value, int | float) and abs(value) < 1e300:
                return float(value)
        return None

    def to_json(self) -> dict[str, Any]:
        """The run as `runs --json` prints it: its summary without the large tables, and its settings."""
        small = {key: value for key, value in self.summary.items() if key not in ("confusion", "class_names", "schema")}
        head = {"id": self.id, "status": self.status, "problem": self.problem, "preset": self.preset}
        more = {"name": self.name, "tags": list(self.tags), "created": self.created}
        more |= {"study": self.header.get("study")}
        return {**small, **head, **more, "config": self.header.get("config", {})}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _mapping(value: Any) -> Json:
    return cast("Json", value) if isinstance(value, Mapping) else {}


def list_runs(logs: Path) -> list[RunRow]:
    """All runs directly below a logs folder, newest last; unreadable ones are included with that status."""
    return _sorted(map(read_row, _run_folders(logs)))


class RunIndex:
    """The runs of a logs folder, cached: a run is read again only where its files changed."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._known: dict[str, tuple[object, RunRow]] = {}

    def rows(self) -> list[RunRow]:
        """All runs, as `list_runs` returns them."""
        known, self._known = self._known, {}
        for name in _names(self.logs):
            stamp = tuple(
                _file_stamp(f"{self.logs}/{name}/{file}") for file in ("run.json", "summary.json", "notes.json")
            )
            if stamp[0] is None:
                continue
            before = known.get(name)
            fresh = before is not None and before[0] == stamp and before[1].status in (*ENDED, "died", "unreadable")
            self._known[name] = before if before and fresh else (stamp, read_row(self.logs / name))
        return _sorted(row for _, row in self._known.values())


def _names(logs: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(logs) if _may_be_run(entry)]
    except OSError:
        return []


def _may_be_run(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and RUN_ID.fullmatch(entry.name) is not None


def _run_folders(logs: Path) -> list[Path]:
    return [logs / name for name in _names(logs) if is_run(logs / name)]


def _file_stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _sorted(rows: Iterable[RunRow]) -> list[RunRow]:
    return sorted(rows, key=lambda row: (row.created, row.id))


def read_header(folder: Path) -> dict[str, Any]:
    """The content of run.json without values of the wrong type; empty where it cannot be read.

    The settings are those of the last attempt, where a run was resumed with others.
    """
    header = valid_items(read_json(f"{folder}/run.json"), _HEADER)
    changed = valid_items(read_json(f"{folder}/{SETTINGS}"), _HEADER) if header else {}
    return {**header, **{key: changed[key] for key in ("config", "config_sha256") if key in changed}}


def requested_ranks(folder: Path) -> int:
    """The number of devices that a run's settings ask for; 1 where they cannot be read."""
    from ..config import parse_config, ranks_of  # imports pydantic, 0.2 s, which lists do not need

    with suppress(TorchdeckError):
        return ranks_of(parse_config(read_header(folder).get("config", {})))
    return 1


def read_row(folder: Path) -> RunRow:
    """Read one run; its status is checked against its lock."""
    header = read_header(folder)
    if not header:
        why = "damaged" if is_regular(folder / "run.json") else "not a regular file"
        return RunRow(folder.name, folder, "unreadable", f"run.json is {why}")
    if not isinstance(header.get("min_reader"), int) or header["min_reader"] > SCHEMA:
        known = {key: header[key] for key in ("preset", "name", "created") if key in header}
        return RunRow(folder.name, folder, "unreadable", "written by a newer Torchdeck; update to read it", known)
    notes = valid_items(read_json(f"{folder}/notes.json"), _NOTES)
    summary = read_summary(read_json(f"{folder}/summary.json"))
    locked = is_locked(folder)
    if locked:
        status = "paused" if summary.get("status") == "paused" else "running"
        return RunRow(folder.name, folder, status, "", header, summary, notes)
    if summary.get("status") not in ENDED:
        record = load_record(folder)
        summary = summarize(record)
    return RunRow(folder.name, folder, str(summary["status"]), "", header, summary, notes)


def start_from(logs: Path, reference: str) -> str:
    """The value of training.start_from for a file of weights, or for a run as `find_run` finds it: an absolute path.

    Raises:
        InputError: there is none.
    """
    path = Path(reference).expanduser()
    return str((path if path.suffix in (".safetensors", ".pt", ".pth") else find_run(logs, reference).folder).resolve())


def find_run(logs: Path, reference: str) -> RunRow:
    """Find a run by its id, a unique prefix, its last four characters, `@last` or `@best:PRESET`.

    Raises:
        InputError: no run matches, or more than one.
    """
    if RUN_ID.fullmatch(reference) and is_run(logs / reference):
        return read_row(logs / reference)
    rows = list_runs(logs)
    if not rows:
        raise InputError(f"there are no runs in {logs}", "start one with: torchdeck run quickstart")
    if reference.startswith("@"):
        return _by_role(rows, reference)
    found = [row for row in rows if reference and (row.id.startswith(reference) or row.id[-4:] == reference)]
    if len(found) == 1:
        return found[0]
    if not found:
        known = [row.id for row in rows[-5:]] + [row.id[-4:] for row in rows[-5:]] + ["@last"]
        raise InputError(f"no run '{reference}' in {logs}", nearest(reference, known))
    listed = ", ".join(row.id for row in found[-5:])
    raise InputError(f"'{reference}' matches {len(found)} runs ({listed})", "write more of the id")


def _by_role(rows: list[RunRow], reference: str) -> RunRow:
    role, _, preset = reference.partition(":")
    if reference == "@last":
        return rows[-1]
    if role != "@best" or not preset:
        raise InputError(f"'{reference}' does not refer to a run", "use an id, @last or @best:PRESET")
    rated = [(figure, row) for row in rows if row.preset == preset and (figure := row.figure("test/accuracy"))]
    if not rated:
        known = {row.preset for row in rows}
        raise InputError(f"no finished run of preset '{preset}'", nearest(preset, sorted(known)))
    return max(rated, key=lambda pair: pair[0])[1]


Predicate = Callable[[RunRow], bool]
_TERM = re.compile(r"(?P<key>[A-Za-z][\w./-]*)(?P<relation>:|<=|>=|!=|=|<|>)(?P<value>.*)")
_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq, "!=": ne}
_TEXTS: dict[str, Callable[[RunRow], Iterable[str]]] = {
    "status": lambda row: (row.status,),
    "preset": lambda row: (row.preset,),
    "name": lambda row: (row.name,),
    "tag": lambda row: row.tags,
    "id": lambda row: (row.id,),
    "study": lambda row: (row.study,),
}
_IDS = ("id", "study")
_ALIASES = {"done": "completed"}
_STATUSES = ("completed", "stopped", "failed", "died", "running", "paused", "unreadable", "unknown", "handed_over")
_SECTIONS = ("data", "model", "optimizer", "schedule", "training")
_METRICS = tuple(f"{split}/{metric}" for split in ("train", "validation", "test") for metric in ("accuracy", "loss"))
_NUMBERS = (
    "epoch",
    "epochs",
    "devices",
    "step",
    "parameters",
    "forward_flops",
    "train_seconds",
    "images_per_second",
    "created",
)


def parse_filter(text: str) -> Predicate:
    """Parse a filter such as `vgg status:done optimizer.lr<0.1 test/accuracy>80% tag:paper` to a predicate.

    All terms must hold; a bare word is searched for in the id, preset, name, tags, model and data set. Ids of runs and
    studies may be a prefix, the last four characters, or the name in the middle.

    Raises:
        InputError: a term is not valid.
    """
    tests = [_term(word) for word in text.split()]
    return lambda row: all(test(row) for test in tests)


def _term(word: str) -> Predicate:
    match = _TERM.fullmatch(word)
    if match is None:
        return lambda row: word.lower() in _searchable(row)
    key, relation, value = match["key"], match["relation"], match["value"]
    if not value:
        raise InputError(f"'{word}' has no value", f"write {key}{relation}VALUE")
    if relation == ":" and key in _TEXTS:
        wanted = _ALIASES.get(value, value).lower()
        if key == "status" and wanted not in _STATUSES:
            raise InputError(f"no status '{value}'", f"known: {', '.join(_STATUSES)}")
        matches = _id_matches if key in _IDS else eq
        return lambda row: any(matches(text.lower(), wanted) for text in _TEXTS[key](row))
    if key not in _METRICS and key not in _NUMBERS and key not in _TEXTS and key.partition(".")[0] not in _SECTIONS:
        known = [*_TEXTS, *_METRICS, *_NUMBERS, *(f"{section}.NAME" for section in _SECTIONS)]
        raise InputError(f"runs cannot be filtered by '{key}'", nearest(key, known))
    compare = _RELATIONS["=" if relation == ":" else relation]
    wanted = str(_number(key, value)) if key in (*_METRICS, *_NUMBERS) else value
    return lambda row: _holds(compare, _value(row, key), wanted)


def _id_matches(run_id: str, wanted: str) -> bool:
    """Whether `wanted` is a prefix of an id such as 20260101-000000-NAME-abcd, its last four characters or its NAME."""
    return run_id.startswith(wanted) or wanted in (run_id[-4:], run_id[16:-5])


def _number(key: str, value: str) -> float:
    """The number of a term, also in percent: 60% is 0.6."""
    try:
        found = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        raise InputError(f"'{value}' is not a number", f"{key} is compared with one, such as {key}>0.5") from None
    if key.endswith("/accuracy") and found > 1:
        raise InputError(f"no accuracy is above 1: {key} is a fraction", f"write {value}% or {found / 100:g}")
    return found


def _searchable(row: RunRow) -> str:
    config = _mapping(row.header.get("config"))
    names = [str(_mapping(config.get(section)).get("name", "")) for section in ("model", "data")]
    return " ".join([row.id, row.preset, row.name, *row.tags, *names]).lower()


def _value(row: RunRow, key: str) -> Any:
    if key in _TEXTS:
        return " ".join(_TEXTS[key](row))
    if key in _METRICS:
        return row.figure(key)
    if key in _NUMBERS:
        return row.summary.get(key, row.header.get(key))
    section, _, name = key.partition(".")
    return _mapping(_mapping(row.header.get("config")).get(section)).get(name)


def _holds(compare: Callable[[Any, Any], bool], found: Any, wanted: str) -> bool:
    """Compare as numbers where both are, else as texts; False for a value that the run does not have."""
    if found is None:
        return False
    if isinstance(found, int | float) and not isinstance(found, bool):
        try:
            return compare(float(found), float(wanted))
        except (ValueError, OverflowError):
            return False
    return compare(str(found).lower(), _ALIASES.get(wanted, wanted).lower())
