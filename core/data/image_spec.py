"""What the images of a data set look like to a model, and what a loading step tells of its progress."""

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
    """How far a slow preparation is: `done` of `total` in the unit that the message implies, None where unknown."""

    message: str
    done: int | None = None
    total: int | None = None
