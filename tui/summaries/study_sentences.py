"""What the figures say, in sentences; each follows from the figures alone."""

from __future__ import annotations

from collections import Counter

from ...core.results.run_result import ResultRow
from ...core.results.statistics import Interval
from ...core.results.study_result import StudyResult
from ..format.values import percent
from .study_tables import told_spread

MOST_COMPARED = 6


def findings(result: StudyResult) -> list[str]:
    """The best run, what its lead is worth, where the gap is narrowest, and how the reported figures were met."""
    best = result.best
    if best is None:
        return ["No run has a test accuracy yet."]
    told = [_best(best)]
    told += [
        f"{best.label} against {result.rows[found.number].label}: {found.words}."
        for found in result.comparisons[:MOST_COMPARED]
        if found.test and found.against == best.number
    ]
    told += [
        f"{group.label} over {group.best.number} seeds: {told_spread(group.best, 'accuracy')} at best."
        for group in result.groups
        if group.best and group.best.number > 1
    ]
    told += _gaps(result)
    met = Counter("short" if item.words.startswith("short") else item.words for item in result.standings)
    if met:
        told.append("Reported figures: " + ", ".join(f"{met[words]} {words}" for words in sorted(met)) + ".")
    return told


def _best(row: ResultRow) -> str:
    assert row.best, "the best row has an accuracy"
    return f"{row.label} reached the highest test accuracy, {percent(row.best.value)}{_ends(row.best.interval)}" + (
        f", in epoch {row.best.epoch} of {row.epochs}."
    )


def _ends(interval: Interval | None) -> str:
    return f" (95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval else ""


def _gaps(result: StudyResult) -> list[str]:
    """The gaps of a study of regularization, the narrowest first."""
    rated = sorted((row for row in result.rows if row.gap is not None), key=lambda row: row.gap or 0.0)
    if "regularization" not in result.study.shows or len(rated) < 2:
        return []
    listed = ", ".join(f"{row.label} {100 * (row.gap or 0.0):.1f} points (epoch {row.epochs})" for row in rated)
    listed = listed.replace(" -", " −")
    return [f"The gap between train and test accuracy at the last epoch, the narrowest first: {listed}."]
