"""Charts of runs and studies as data, independent of how they are drawn: series with labels and units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..runs.record import RunRecord
from ..runs.reported import read_reported
from .bands import Band, band
from .comparison import group_label, grouped_by_seed
from .curves import Axis, Curve, Numbers, metrics_of, step_losses
from .run_result import ResultRow
from .study_result import StudyResult

MAX_SERIES = 8
MAX_DOTS = 24
LANDSCAPE_INKS = (2, 4, 0, 1, 3, 5, 6, 7)
"""Colour numbers: green for the first model, red for the second, then the others."""


_REGULARIZATION_CAPTION = "Train and test accuracy, and the gap between them, by epoch"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Points in order, with a label and a colour number; `low` and `high` bound a band around them."""

    label: str
    x: Numbers
    y: Numbers
    ink: int
    low: Numbers | None = None
    high: Numbers | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One chart. Accuracies are fractions if `percent`, times are in seconds; `rules` are lines at reported values.

    Charts to be read side by side have one `y_range`.

    The axis of `dots` and `bars` is the series' own: one row each, at its first y; `dots` span low to high.
    """

    key: str
    title: str
    series: tuple[Series, ...]
    x_unit: str = "epoch"
    percent: bool = False
    kind: Literal["lines", "dots", "bars"] = "lines"
    smooth: bool = False
    rules: tuple[tuple[float, str], ...] = ()
    note: str = ""
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Charts that belong together, shown side by side where there is room."""

    title: str
    figures: tuple[Figure, ...]
    caption: str = ""


def panels(result: StudyResult) -> tuple[Panel, ...]:
    """The charts that a study declares in `shows`, in a fixed order, without those that have no data."""
    shows = result.study.shows
    found: list[Panel] = []
    gaps = "regularization" in shows
    if gaps:
        found.append(Panel("Regularization", regularization(result.rows), _REGULARIZATION_CAPTION))
    if "landscape" in shows:
        found.append(Panel("Loss landscape", (landscape(result.rows),)))
    if {"curves", "comparison", "batch-size"} & set(shows):
        # The first of them is among the regularization charts already.
        found.append(Panel("Curves", curves(result.rows)[1 if gaps else 0 :], "Test accuracy and train loss by epoch"))
    if "time-to-accuracy" in shows:
        found.append(Panel("Accuracy over training time", (accuracy_over_time(result.rows),)))
    if result.study.search and result.study.search.importance:
        found.append(Panel("Importance of the settings", (importance(result),)))
    drawn = [replace(panel, figures=tuple(item for item in panel.figures if item.series)) for panel in found]
    return tuple(panel for panel in drawn if panel.figures)


def run_panels(record: RunRecord) -> tuple[Panel, ...]:
    """The charts of one run: the loss and the accuracy of each split."""
    reported = read_reported(record.started.reported if record.started else ())
    rules = tuple(
        (claim.value, f"reported {100 * claim.value:.2f} % {claim.at}")
        for claim in reported
        if claim.metric == "test/accuracy"
    )
    figures = (
        Figure("loss", "Loss", _splits(record, "loss")),
        Figure("accuracy", "Accuracy", _splits(record, "accuracy"), percent=True, rules=rules),
    )
    return (Panel("Curves", figures, "Loss and accuracy of each split by epoch"),) if record.epochs else ()


def _splits(record: RunRecord, figure: str) -> tuple[Series, ...]:
    inks = {"train": 0, "test": 1, "validation": 2}
    names = [name for name in metrics_of(record) if name.endswith(f"/{figure}")]
    found = [(name.partition("/")[0], epoch_curve(record, name)) for name in names]
    return tuple(Series(split, points.x, points.y, inks[split]) for split, points in found)


def curves(rows: Sequence[ResultRow]) -> tuple[Figure, ...]:
    """Test accuracy and train loss over epochs, all runs in one chart; seeds of one configuration form a band."""
    return (
        _figure("test-accuracy", "Test accuracy", rows, "test/accuracy"),
        _figure("train-loss", "Train loss", rows, "train/loss"),
    )


def regularization(rows: Sequence[ResultRow]) -> tuple[Figure, ...]:
    """Train and test accuracy and the gap between them, over epochs."""
    beside = (
        _figure("train-accuracy", "Train accuracy", rows, "train/accuracy"),
        _figure("test-accuracy-beside", "Test accuracy", rows, "test/accuracy"),
    )
    seen = np.concatenate([np.empty(0), *(series.y for figure in beside for series in figure.series)])
    seen = seen[np.isfinite(seen)]
    y_range = (float(seen.min()), float(seen.max())) if len(seen) else None
    return (
        *(replace(figure, y_range=y_range) for figure in beside),
        _overlaid("gap", "Gap: train less test accuracy, in points", rows, _gap),
    )


def accuracy_over_time(rows: Sequence[ResultRow]) -> Figure:
    """Test accuracy over the seconds of training."""
    return _figure("over-time", "Test accuracy over training time", rows, "test/accuracy", "time")


def landscape(rows: Sequence[ResultRow]) -> Figure:
    """The band of the loss of each model's runs at every step, cut to the length of the shortest run.

    A run that failed counts for nothing: it would cut the others to where it ended.
    """
    sound = [row for row in rows if row.epochs and row.state != "failed"]
    lengths = [sum(len(step_losses(epoch)) for epoch in row.record.epochs) for row in sound]
    shortest = min(lengths, default=0)
    models = list(dict.fromkeys(row.model for row in sound))
    series = [
        _landscape_of(model, [row for row in sound if row.model == model], shortest, LANDSCAPE_INKS[place % 8])
        for place, model in enumerate(models)
    ]
    wide = "bands from the smallest to the largest loss" if any(s.low is not None for s in series) else ""
    cut = f"cut to {shortest:,} steps, those of the shortest run" if len(set(lengths)) > 1 else ""
    note = "; ".join(filter(None, [wide, cut]))
    return Figure("landscape", "Loss of every step", tuple(series), "step", smooth=True, note=note)


def _landscape_of(model: str, rows: Sequence[ResultRow], steps: int, ink: int) -> Series:
    made = band([_cut(step_curve(row.record), steps) for row in rows])
    label = f"{model} ×{len(rows)}" if len(rows) > 1 else model
    return _banded(label, made, ink, len(rows) > 1)


def _cut(points: Curve, steps: int) -> Curve:
    return Curve(points.x[:steps], points.y[:steps])


def step_curve(record: RunRecord) -> Curve:
    """The loss of every step of the completed epochs."""
    losses = [step_losses(epoch).astype(np.float64) for epoch in record.epochs]
    joined = np.concatenate(losses) if losses else np.empty(0)
    return Curve(np.arange(1.0, len(joined) + 1), joined)


def accuracy_dots(rows: Sequence[ResultRow]) -> Figure:
    """The best test accuracy of each run, with its confidence interval."""
    rated = [(row, row.best) for row in rows if row.best]
    ranked = sorted((best.value for _, best in rated), reverse=True)[:MAX_DOTS]
    shown = [(row, best) for row, best in rated if best.value >= ranked[-1]][:MAX_DOTS]
    series = [
        Series(
            row.label,
            np.array([float(place)]),
            np.array([best.value]),
            0,
            np.array([best.interval.low if best.interval else best.value]),
            np.array([best.interval.high if best.interval else best.value]),
        )
        for place, (row, best) in enumerate(shown)
    ]
    title = "Best test accuracy with its 95 % interval"
    note = f"the best {len(shown)} of {len(rated)}" if len(shown) < len(rated) else ""
    return Figure("accuracies", title, tuple(series), "", True, "dots", note=note)


def importance(result: StudyResult) -> Figure:
    """The importance of each setting of a search."""
    weights = result.study.search.importance if result.study.search else {}
    ranked = sorted(weights.items(), key=lambda pair: -pair[1])
    series = [Series(name, np.array([float(at)]), np.array([value]), 0) for at, (name, value) in enumerate(ranked)]
    return Figure("importance", "Share of the differences in the result", tuple(series), "", True, "bars")


def _figure(key: str, title: str, rows: Sequence[ResultRow], metric: str, axis: Axis = "epoch") -> Figure:
    percent = metric.endswith("/accuracy")
    return _overlaid(key, title, rows, lambda record: epoch_curve(record, metric, axis), axis, percent)


def _overlaid(
    key: str,
    title: str,
    rows: Sequence[ResultRow],
    points: Callable[[RunRecord], Curve],
    x_unit: str = "epoch",
    percent: bool = False,
) -> Figure:
    groups = [group for found in grouped_by_seed(rows) if (group := [row for row in found if row.epochs])]
    ranked = sorted(groups, key=lambda group: -max(row.best.value if row.best else 0.0 for row in group))
    shown = [group for group in groups if group in ranked[:MAX_SERIES]]
    series = [_series(group, points, ink) for ink, group in enumerate(shown)]
    note = f"the best {len(shown)} of {len(groups)}" if len(shown) < len(groups) else ""
    found = tuple(item for item in series if len(item.x))
    return Figure(key, title, found, x_unit, percent, note=note)


def _series(group: Sequence[ResultRow], points: Callable[[RunRecord], Curve], ink: int) -> Series:
    if len(group) == 1:
        found = points(group[0].record)
        return Series(group[0].label, found.x, found.y, ink)
    return _banded(f"{group_label(group)} ×{len(group)}", band([points(row.record) for row in group]), ink, True)


def _banded(label: str, made: Band, ink: int, wide: bool) -> Series:
    return Series(label, made.x, made.mean, ink, made.low if wide else None, made.high if wide else None)


def epoch_curve(record: RunRecord, metric: str, axis: Axis = "epoch") -> Curve:
    """A metric at the end of every completed epoch."""
    seen = [epoch for epoch in record.epochs if metric in epoch.metrics]
    seconds = np.cumsum([epoch.train_seconds for epoch in seen])
    x = {"time": seconds, "epoch": [epoch.epoch for epoch in seen], "step": [epoch.step for epoch in seen]}[axis]
    return Curve(np.array(x, np.float64), np.array([epoch.metrics[metric] for epoch in seen], np.float64))


def _gap(record: RunRecord) -> Curve:
    train, test = epoch_curve(record, "train/accuracy"), epoch_curve(record, "test/accuracy")
    both = np.intersect1d(train.x, test.x)
    return Curve(both, 100 * (train.y[np.isin(train.x, both)] - test.y[np.isin(test.x, both)]))
