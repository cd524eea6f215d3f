"""Generators that return a value: run one to its end, or change what it yields."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

Item = TypeVar("Item")
Changed = TypeVar("Changed")
Result = TypeVar("Result")


def run_to_end(steps: Generator[Any, None, Result]) -> Result:
    """What a generator returns; what it yields is dropped."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def mapped(steps: Generator[Item, None, Result], change: Callable[[Item], Changed]) -> Generator[Changed, None, Result]:
    """The generator with each item changed; it returns the same."""
    while True:
        try:
            item = next(steps)
        except StopIteration as end:
            return end.value
        yield change(item)
