"""The shape of a data set's images, and progress reports of its preparation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """Shape of one image in pixels, and how many classes there are."""

    channels: int
    height: int
    width: int
    classes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a slow preparation: `done` of `total`, in the unit of the message; None where unknown."""

    message: str
    done: int | None = None
    total: int | None = None
