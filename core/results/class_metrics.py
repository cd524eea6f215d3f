"""Precision, recall and F1 per class, from a confusion matrix (rows: true class, columns: predicted class)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Confusion = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Precision, recall and F1 of one class as fractions; None where undefined, such as recall without images."""

    precision: float | None
    recall: float | None
    f1: float | None
    images: int


def accuracy(confusion: Confusion) -> float:
    """The share of images on the diagonal."""
    total = sum(map(sum, confusion))
    return sum(row[index] for index, row in enumerate(confusion)) / total if total else 0.0


def confused_pairs(confusion: Confusion) -> list[tuple[int, int, int]]:
    """True class, predicted class and images of every confusion, the most frequent first."""
    cells = [(true, taken, images) for true, row in enumerate(confusion) for taken, images in enumerate(row)]
    return sorted((cell for cell in cells if cell[0] != cell[1] and cell[2]), key=lambda cell: -cell[2])


def class_figures(confusion: Confusion) -> list[ClassFigures]:
    """Precision, recall and F1 of every class."""
    return [_figures_of(confusion, index) for index in range(len(confusion))]


def _figures_of(confusion: Confusion, index: int) -> ClassFigures:
    hits = confusion[index][index]
    present = sum(confusion[index])
    predicted = sum(row[index] for row in confusion)
    return ClassFigures(_ratio(hits, predicted), _ratio(hits, present), _ratio(2 * hits, present + predicted), present)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def macro(figures: Sequence[ClassFigures]) -> ClassFigures:
    """The unweighted mean over the classes with images; the precision of a class never predicted counts as 0."""
    tested = [item for item in figures if item.images]

    def mean(values: Sequence[float | None]) -> float | None:
        return sum(value or 0.0 for value in values) / len(values) if values else None

    return ClassFigures(
        mean([item.precision for item in tested]),
        mean([item.recall for item in tested]),
        mean([item.f1 for item in tested]),
        sum(item.images for item in tested),
    )
