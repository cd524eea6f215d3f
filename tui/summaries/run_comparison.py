"""A comparison of runs: curves or bands as lines of a chart, results and differing settings as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from rich.text import Text

from ...core.devices.rank_devices import rank_devices
from ...core.results.bands import band
from ...core.results.curves import METRICS, Axis, curve, metrics_of, seconds_to
from ...core.runs.index import RunRow
from ...core.runs.record import RunRecord
from ..charts.drawing import Line
from ..format.columns import TextColumn
from ..format.values import count, duration, percent, safe
from .run_columns import Look, name_of, number
from .run_settings import differing, label, setting, shown

LETTERS = "abcdefgh"
ORDER = ("test/accuracy", "test/loss", "train/loss", "train/accuracy", *(m for m in METRICS if m.startswith("valid")))
MAX_VALUE_LENGTH = 24
LATE = 1
"""The rank of the columns that are shown only if there is room beside the settings that differ."""


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


def table(entries: Sequence[Entry], goal: float | None, look: Look) -> list[TextColumn]:
    """Names, results, the training time to an accuracy, and the settings that differ; the best values stand out."""
    plain = partial(_column, entries, look)
    columns = [
        _letters(entries, look),
        plain("run", [safe(entry.row.id[-4:]) for entry in entries], right=False),
        plain("name", [name_of(entry.row) for entry in entries], LATE, right=False),
        *_results(entries, goal, look),
        *_on_devices(entries, look),
    ]
    paths = differing([entry.row for entry in entries])
    return columns + [plain(label(path), [shown(setting(entry.row, path)) for entry in entries]) for path in paths]


def _results(entries: Sequence[Entry], goal: float | None, look: Look) -> list[TextColumn]:
    metric = partial(_metric_column, entries, look)
    columns = [
        metric("best acc", lambda record: best_accuracy(record), percent, max),
        metric("final", lambda record: _last(record, "test/accuracy"), percent, max, LATE),
        metric("loss", lambda record: _at_best(record, "test/loss"), _loss, min),
        metric("time", lambda record: record.train_seconds if record.epochs else None, duration, min, LATE),
    ]
    if goal is not None:
        columns.append(metric(f"to {100 * goal:.4g} %", lambda record: seconds_to(record, goal), duration, min))
    return columns


def _on_devices(entries: Sequence[Entry], look: Look) -> list[TextColumn]:
    """If runs trained on different numbers of devices: these, and images per second in total and per device."""
    many = [_devices(entry.record) for entry in entries]
    if len(set(many)) < 2:
        return []
    metric = partial(_metric_column, entries, look)
    return [
        _column(entries, look, "devices", list(map(count, many))),
        metric("img/s", lambda record: record.images_per_second, count, max),
        metric("img/s each", _speed_of_each, count, max),
    ]


def _devices(record: RunRecord) -> int:
    return len(rank_devices(record.started)) if record.started else 1


def _speed_of_each(record: RunRecord) -> float | None:
    speed = record.images_per_second
    return None if speed is None else speed / _devices(record)


def _letters(entries: Sequence[Entry], look: Look) -> TextColumn:
    styles = [look.ink("quiet" if entry.hidden else f"chart-{entry.place}") for entry in entries]
    cells = (Text("-" if entry.hidden else entry.letter, style) for entry, style in zip(entries, styles, strict=True))
    return TextColumn("", "", tuple(cells), 0)


def _column(
    entries: Sequence[Entry],
    look: Look,
    title: str,
    texts: Sequence[str],
    rank: int = 0,
    best: Collection[int] = (),
    *,
    right: bool = True,
) -> TextColumn:
    inks = ["quiet" if entry.hidden else "good" if place in best else "" for place, entry in enumerate(entries)]
    side: Literal["left", "right"] = "right" if right else "left"
    cells = (
        Text(text[:MAX_VALUE_LENGTH], look.ink(ink), justify=side, no_wrap=True)
        for text, ink in zip(texts, inks, strict=True)
    )
    return TextColumn(title, title[:MAX_VALUE_LENGTH], tuple(cells), rank, right)


def _metric_column(
    entries: Sequence[Entry],
    look: Look,
    title: str,
    figure: Callable[[RunRecord], float | None],
    text: Callable[[float | None], str],
    better: Callable[[list[float]], float],
    rank: int = 0,
) -> TextColumn:
    values = [number(figure(entry.record)) for entry in entries]
    known = [value for value in values if value is not None]
    first = better(known) if len(set(known)) > 1 else None
    best = {place for place, value in enumerate(values) if value is not None and value == first}
    return _column(entries, look, title, list(map(text, values)), rank, best)


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _last(record: RunRecord, metric: str) -> float | None:
    return record.epochs[-1].metrics.get(metric) if record.epochs else None


def _at_best(record: RunRecord, metric: str) -> float | None:
    return record.best.metrics.get(metric) if record.best else _last(record, metric)


def tab_separated(columns: Sequence[TextColumn]) -> str:
    """The whole table as tab-separated text for a spreadsheet."""
    texts = ([column.title, *(cell.plain for cell in column.cells)] for column in columns)
    return "".join("\t".join(row) + "\n" for row in zip(*texts, strict=True))
