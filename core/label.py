"""What a run is called and what its preset reports; none of it changes the training."""

from __future__ import annotations

from dataclasses import dataclass

from core.reported import ReportedFigure


@dataclass(frozen=True, slots=True)
class Label:
    """The preset a run was made from, its name and tags, and the figures it is held against."""

    preset: str = "custom"
    name: str = ""
    tags: tuple[str, ...] = ()
    reported: tuple[ReportedFigure, ...] = ()
