"""Figures of a classifier from its confusion matrix (rows: true class, columns: predicted class)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Confusion = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Precision, recall and F1 of one class as fractions; 0 where nothing was predicted or present."""

    precision: float
    recall: float
    f1: float
    images: int


def accuracy(confusion: Confusion) -> float:
    """The share of images on the diagonal."""
    total = sum(map(sum, confusion))
    return sum(row[index] for index, row in enumerate(confusion)) / total if total else 0.0


def class_figures(confusion: Confusion) -> list[ClassFigures]:
    """Precision, recall and F1 of every class."""
    return [_figures_of(confusion, index) for index in range(len(confusion))]


def _figures_of(confusion: Confusion, index: int) -> ClassFigures:
    hits = confusion[index][index]
    present = sum(confusion[index])
    predicted = sum(row[index] for row in confusion)
    precision = hits / predicted if predicted else 0.0
    recall = hits / present if present else 0.0
    f1 = 2 * hits / (present + predicted) if present + predicted else 0.0
    return ClassFigures(precision, recall, f1, present)


def macro(figures: Sequence[ClassFigures]) -> ClassFigures:
    """The unweighted mean over the classes."""
    count = max(1, len(figures))
    return ClassFigures(
        sum(item.precision for item in figures) / count,
        sum(item.recall for item in figures) / count,
        sum(item.f1 for item in figures) / count,
        sum(item.images for item in figures),
    )
