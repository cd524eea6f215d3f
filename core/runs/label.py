"""The label of a run: preset, name, tags, reported figures and study. None of it affects the training."""

from __future__ import annotations

from dataclasses import dataclass

from .reported import ReportedFigure


@dataclass(frozen=True, slots=True)
class StudyReference:
    """The study that a run belongs to, and its number there."""

    id: str
    number: int


@dataclass(frozen=True, slots=True)
class Label:
    """The preset that a run was made from, its name and tags, the reported figures to compare with, and its study."""

    preset: str = "custom"
    name: str = ""
    tags: tuple[str, ...] = ()
    reported: tuple[ReportedFigure, ...] = ()
    study: StudyReference | None = None
