"""What a run is called and what its preset reports; none of it changes the training."""

from __future__ import annotations

from dataclasses import dataclass

from .reported import ReportedFigure


@dataclass(frozen=True, slots=True)
class StudyReference:
    """The study a run belongs to, and its number there."""

    id: str
    number: int


@dataclass(frozen=True, slots=True)
class Label:
    """The preset a run was made from, its name and tags, the figures it is held against, and its study."""

    preset: str = "custom"
    name: str = ""
    tags: tuple[str, ...] = ()
    reported: tuple[ReportedFigure, ...] = ()
    study: StudyReference | None = None
