"""The findings of a study as sentences, derived from its results."""

from __future__ import annotations

from collections import Counter

from ...core.results.run_result import ResultRow
from ...core.results.statistics import Interval
from ...core.results.study_result import StudyResult
from ..format.values import percent
from .study_tables import spread_text

MAX_COMPARED = 6


def findings(result: StudyResult) -> list[str]:
    """The best run, how significant its lead is, seeds, train-test gaps, and how many reported figures were reached."""
    best = result.best
    if best is None:
        return ["No run has a test accuracy yet."]
    sentences = [_best(best)]
    sentences += [
        f"{best.label} against {result.rows[found.number].label}: {found.words}."
        for found in result.comparisons[:MAX_COMPARED]
        if found.test and found.against == best.number
    ]
    sentences += [
        f"{group.label} over {group.best.number} seeds: {spread_text(group.best, 'accuracy')} at best."
        for group in result.groups
        if group.best and group.best.number > 1
    ]
    sentences += _gaps(result)
    outcomes = Counter("short" if item.words.startswith("short") else item.words for item in result.standings)
    if outcomes:
        sentences.append(
            "Reported figures: " + ", ".join(f"{outcomes[words]} {words}" for words in sorted(outcomes)) + "."
        )
    return sentences


def _best(row: ResultRow) -> str:
    assert row.best, "the best row has an accuracy"
    return f"{row.label} reached the highest test accuracy, {percent(row.best.value)}{_ends(row.best.interval)}" + (
        f", in epoch {row.best.epoch} of {row.epochs}."
    )


def _ends(interval: Interval | None) -> str:
    return f" (95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval else ""


def _gaps(result: StudyResult) -> list[str]:
    """The train-test gaps of a study of regularization, narrowest first."""
    with_gap = sorted((row for row in result.rows if row.gap is not None), key=lambda row: row.gap or 0.0)
    if "regularization" not in result.study.shows or len(with_gap) < 2:
        return []
    listed = ", ".join(f"{row.label} {100 * (row.gap or 0.0):.1f} points (epoch {row.epochs})" for row in with_gap)
    listed = listed.replace(" -", " −")
    return [f"The gap between train and test accuracy at the last epoch, narrowest first: {listed}."]
