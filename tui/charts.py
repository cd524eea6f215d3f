"""Stub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """Stub."""

    label: str
    xs: Any
    ys: Any
    ink: int = 0
    spread: bool = False
    smooth: bool = False
    marks: bool = False
    letter: str = ""
    dim: bool = False
    broken: bool = False
    low: Any = None
    high: Any = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Stub."""

    y: float
    label: str
