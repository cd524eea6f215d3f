"""Validate values from JSON files that may be damaged or malicious.

A reader is a function that returns the value in its proper type or raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, cast

MAX_DEPTH = 32
"""Levels of nesting that are accepted in a file; the code that walks the values is recursive."""

Reader = Callable[[Any], Any]


def whole_number(value: Any) -> int:
    """A count: a non-negative integer that fits into 64 bits."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("not a whole number")
    return value


def positive(value: Any) -> int:
    """A count of at least one."""
    if whole_number(value) == 0:
        raise ValueError("zero")
    return value


def number(value: Any) -> float:
    """A number; non-finite ones are the strings "nan", "inf" and "-inf"."""
    if type(value) is float and -1e300 < value < 1e300:
        return value
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ValueError("not a number")
    return float(value)


def text(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def table(value: Any) -> Mapping[str, Any]:
    """A mapping with any values, nested at most `MAX_DEPTH` levels."""
    if too_deep(mapping(value)):
        raise ValueError("not a table")
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping; the caller has checked how deep the whole file is nested."""
    if not isinstance(value, Mapping):
        raise ValueError("not a table")
    return cast("Mapping[str, Any]", value)


def optional(reader: Reader) -> Reader:
    """A reader that also takes None."""
    return lambda value: None if value is None else reader(value)


def list_of(reader: Reader) -> Reader:
    """A reader of lists whose items `reader` reads; returns a tuple."""
    return lambda value: tuple(map(reader, _items(value)))


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("not a list")
    return cast("list[Any]", value)


_PLAIN_NUMBERS = {float, int, type(None)}
_each_number = list_of(optional(number))


def number_rows(value: Any) -> tuple[tuple[float | None, ...], ...]:
    """Rows of numbers or None; checked all at once, because a list of runs has thousands of rows."""
    rows = [_items(row) for row in _items(value)]
    return tuple(map(tuple if _plain([*chain.from_iterable(rows)]) else _each_number, rows))


def _plain(found: list[Any]) -> bool:
    """Whether all values are plain numbers in range: the sum of their sizes exceeds the bound where one is not."""
    try:
        return set(map(type, found)) <= _PLAIN_NUMBERS and sum(map(abs, filter(None, found))) < 1e300
    except OverflowError:
        # An integer too large for a float.
        return False


def matrix(value: Any) -> tuple[tuple[int, ...], ...]:
    """A square matrix of counts."""
    rows: tuple[tuple[int, ...], ...] = list_of(_counts)(value)
    if any(len(row) != len(rows) for row in rows):
        raise ValueError("not square")
    return rows


def _counts(value: Any) -> tuple[int, ...]:
    """A list of counts, checked all at once: a matrix has thousands."""
    found = _items(value)
    if not set(map(type, found)) <= {int} or (found and not 0 <= min(found) <= max(found) < 2**63):
        raise ValueError("not whole numbers")
    return tuple(found)


def one_of(*choices: str) -> Reader:
    """A reader of strings that must be one of the choices."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"not one of {choices}")
        return str(value)

    return read


def finite(value: Any) -> float:
    """A finite number."""
    found = number(value)
    if not math.isfinite(found):
        raise ValueError("not finite")
    return found


def valid_items(content: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The items of a mapping that their reader accepts; items without a reader are kept as they are."""
    given = cast("Mapping[str, Any]", content) if isinstance(content, Mapping) else {}
    return {key: value for key, value in given.items() if key not in readers or _fits(readers[key], value)}


def _fits(reader: Reader, value: Any) -> bool:
    try:
        reader(value)
    except ValueError:
        return False
    return True


_NESTS = frozenset((dict, list, tuple))


def too_deep(value: Any, max_depth: int = MAX_DEPTH) -> bool:
    """Whether lists and mappings are nested deeper than `max_depth` levels; checked without recursion."""
    level: list[Any] = [value] if type(value) in _NESTS else []
    for _ in range(max_depth):
        inner: list[Any] = []
        for outer in level:
            items = outer.values() if type(outer) is dict else outer
            # Most levels hold plain values only.
            if not _NESTS.isdisjoint(map(type, items)):
                inner += [item for item in items if type(item) in _NESTS]
        if not inner:
            return False
        level = inner
    return True
