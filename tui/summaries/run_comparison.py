"""A comparison of runs: curves or bands as lines of a chart, results and differing settings as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.devices.rank_devices import rank_devices
from ...core.results.bands import band
from ...core.results.curves import METRICS, Axis, curve, metrics_of, seconds_to
from ...core.runs.index import RunRow
from ...core.runs.record import RunRecord
from ..charts.drawing import Line
from ..format.values import count, duration, percent, safe
from .run_columns import name_of, number
from .run_settings import differing, label, setting, shown

LETTERS = "abcdefgh"
ORDER = ("test/accuracy", "test/loss", "train/loss", "train/accuracy", *(m for m in METRICS if m.startswith("valid")))
MAX_VALUE_LENGTH = 24
GAP = 2
WIDE, ONLY_WIDE = 100, ("name", "final", "time")


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the compared runs; its place determines its letter and ink."""

    place: int
    row: RunRow
    record: RunRecord
    hidden: bool = False

    @property
    def letter(self) -> str:
        """The letter that identifies it without colour."""
        return LETTERS[self.place]

    @property
    def model(self) -> str:
        """The name of its model."""
        return safe(setting(self.row, "model.name") or "")


@dataclass(frozen=True, slots=True)
class Figures:
    """A column of the table: a text a run, the places of the best ones, and whether it is a setting."""

    title: str
    texts: tuple[str, ...]
    best: frozenset[int] = frozenset()
    is_setting: bool = False

    @property
    def width(self) -> int:
        """The cells it needs."""
        return max(len(self.title), *(len(text) for text in self.texts))


def metrics(entries: Sequence[Entry]) -> list[str]:
    """The metrics that any of the runs has, in display order."""
    known = {name for entry in entries for name in metrics_of(entry.record)}
    return [name for name in ORDER if name in known] or [ORDER[0]]


def metric_title(metric: str) -> str:
    """A metric as a title: Test accuracy."""
    return metric.replace("/", " ").capitalize()


def run_lines(entries: Sequence[Entry], metric: str, axis: Axis) -> list[Line]:
    """A line per run, except for hidden ones."""
    return [_run_line(entry, metric, axis) for entry in entries if not entry.hidden]


def _run_line(entry: Entry, metric: str, axis: Axis) -> Line:
    points = curve(entry.record, metric, axis)
    broken = entry.record.status == "failed" and metric.startswith("train")
    return Line(
        safe(entry.row.id[-4:]),
        points.x,
        points.y,
        ink=entry.place,
        letter=entry.letter,
        smooth=metric == "train/loss",
        broken=broken,
    )


def band_lines(entries: Sequence[Entry], metric: str, axis: Axis) -> list[Line]:
    """A band per model, over its runs except for hidden ones, with the mean as its line."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.hidden:
            groups.setdefault(entry.model, []).append(entry)
    return [_band_line(name, group, metric, axis) for name, group in groups.items()]


def _band_line(name: str, group: Sequence[Entry], metric: str, axis: Axis) -> Line:
    if len(group) == 1:
        return _run_line(group[0], metric, axis)
    made = band([curve(entry.record, metric, axis) for entry in group])
    words = f"{name} x{len(group)}".strip()
    smooth = metric == "train/loss"
    return Line(words, made.x, made.mean, ink=group[0].place, low=made.low, high=made.high, smooth=smooth)


def best_accuracy(record: RunRecord) -> float | None:
    """The highest test accuracy of any epoch."""
    seen = [number(epoch.metrics.get("test/accuracy")) for epoch in record.epochs]
    return max((figure for figure in seen if figure is not None), default=None)


def reached_by_all(entries: Sequence[Entry]) -> float | None:
    """The highest whole percent (as a fraction) that all shown runs reached; None if there is none."""
    best = [figure for entry in entries if not entry.hidden if (figure := best_accuracy(entry.record)) is not None]
    whole = math.floor(100 * min(best) + 1e-9) if best else 0
    return whole / 100 if whole > 0 else None


def table(entries: Sequence[Entry], goal: float | None) -> list[Figures]:
    """Names, results, the training time to an accuracy, and the settings that differ."""
    columns = [
        Figures("run", tuple(safe(entry.row.id[-4:]) for entry in entries)),
        Figures("name", tuple(name_of(entry.row)[:MAX_VALUE_LENGTH] for entry in entries)),
        _metric_column("best acc", entries, lambda record: best_accuracy(record), percent, max),
        _metric_column("final", entries, lambda record: _last(record, "test/accuracy"), percent, max),
        _metric_column("loss", entries, lambda record: _at_best(record, "test/loss"), _loss, min),
        _metric_column("time", entries, lambda record: record.train_seconds if record.epochs else None, duration, min),
    ]
    if goal is not None:
        title = f"to {100 * goal:.4g} %"
        columns.append(_metric_column(title, entries, lambda record: seconds_to(record, goal), duration, min))
    paths = differing([entry.row for entry in entries])
    columns += _on_devices(entries)
    return columns + [_setting_column(entries, path) for path in paths]


def _on_devices(entries: Sequence[Entry]) -> list[Figures]:
    """If runs trained on different numbers of devices: these, and images per second in total and per device."""
    many = [_devices(entry.record) for entry in entries]
    if len(set(many)) < 2:
        return []
    return [
        Figures("devices", tuple(map(count, many))),
        _metric_column("img/s", entries, lambda record: record.images_per_second, count, max),
        _metric_column("img/s each", entries, _speed_of_each, count, max),
    ]


def _devices(record: RunRecord) -> int:
    return len(rank_devices(record.started)) if record.started else 1


def _speed_of_each(record: RunRecord) -> float | None:
    speed = record.images_per_second
    return None if speed is None else speed / _devices(record)


def _setting_column(entries: Sequence[Entry], path: str) -> Figures:
    texts = tuple(shown(setting(entry.row, path))[:MAX_VALUE_LENGTH] for entry in entries)
    return Figures(label(path)[:MAX_VALUE_LENGTH], texts, is_setting=True)


def _metric_column(
    title: str,
    entries: Sequence[Entry],
    figure: Callable[[RunRecord], float | None],
    text: Callable[[float | None], str],
    better: Callable[[list[float]], float],
) -> Figures:
    values = [number(figure(entry.record)) for entry in entries]
    known = [value for value in values if value is not None]
    first = better(known) if len(set(known)) > 1 else None
    best = frozenset(place for place, value in enumerate(values) if value is not None and value == first)
    return Figures(title, tuple(text(value) for value in values), best)


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _last(record: RunRecord, metric: str) -> float | None:
    return record.epochs[-1].metrics.get(metric) if record.epochs else None


def _at_best(record: RunRecord, metric: str) -> float | None:
    return record.best.metrics.get(metric) if record.best else _last(record, metric)


def fitted(columns: Sequence[Figures], width: int) -> tuple[list[Figures], int]:
    """The columns that fit beside the letters, and how many were left out; settings matter more than some figures."""
    room, chosen = width - 1 - GAP, list[Figures]()
    for column in columns:
        if width < WIDE and column.title in ONLY_WIDE:
            continue
        if column.width + GAP > room:
            break
        room -= column.width + GAP
        chosen.append(column)
    return chosen, len(columns) - len(chosen)


def tab_separated(entries: Sequence[Entry], columns: Sequence[Figures]) -> str:
    """The whole table as tab-separated text for a spreadsheet."""
    lines = ["\t".join(["", *(column.title for column in columns)])]
    for place, entry in enumerate(entries):
        lines.append("\t".join([entry.letter, *(column.texts[place] for column in columns)]))
    return "\n".join(lines) + "\n"
