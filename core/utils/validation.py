"""Values from files as the type that they must have: whoever writes a log may be mistaken, or mean ill.

Each reader gives the value or raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, cast

MAX_DEPTH = 32
"""How deep tables and lists may stand in one another: what walks them is recursive."""

Reader = Callable[[Any], Any]


def whole_number(value: Any) -> int:
    """A count: an integer from 0 that 64 bits hold."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("not a whole number")
    return value


def positive(value: Any) -> int:
    """A count of at least one."""
    if whole_number(value) == 0:
        raise ValueError("zero")
    return value


def number(value: Any) -> float:
    """A number; non-finite ones are the texts that JSON has for them."""
    if type(value) is float and -1e300 < value < 1e300:
        return value
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ValueError("not a number")
    return float(value)


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def table(value: Any) -> Mapping[str, Any]:
    """A table, of whatever it holds."""
    if too_deep(mapping(value)):
        raise ValueError("not a table")
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """A table of a file that is not too deep as a whole."""
    if not isinstance(value, Mapping):
        raise ValueError("not a table")
    return cast("Mapping[str, Any]", value)


def optional(reader: Reader) -> Reader:
    """A reader that also takes None."""
    return lambda value: None if value is None else reader(value)


def list_of(reader: Reader) -> Reader:
    """A reader of lists, as tuples."""
    return lambda value: tuple(map(reader, _items(value)))


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("not a list")
    return cast("list[Any]", value)


_PLAIN_NUMBERS = {float, int, type(None)}
_each_number = list_of(optional(number))


def number_rows(value: Any) -> tuple[tuple[float | None, ...], ...]:
    """Lists of numbers, or None for those not known; looked at as a whole, since a list of runs has many."""
    rows = [_items(row) for row in _items(value)]
    return tuple(map(tuple if _plain([*chain.from_iterable(rows)]) else _each_number, rows))


def _plain(found: list[Any]) -> bool:
    """Whether all are numbers as they are; their sum is not below the bound where one is not, or is nan."""
    try:
        return set(map(type, found)) <= _PLAIN_NUMBERS and sum(map(abs, filter(None, found))) < 1e300
    except OverflowError:
        # An integer that no float holds.
        return False


def matrix(value: Any) -> tuple[tuple[int, ...], ...]:
    """A square table of counts."""
    rows: tuple[tuple[int, ...], ...] = list_of(_counts)(value)
    if any(len(row) != len(rows) for row in rows):
        raise ValueError("not square")
    return rows


def _counts(value: Any) -> tuple[int, ...]:
    """A list of counts, looked at as a whole: a matrix has thousands."""
    found = _items(value)
    if not set(map(type, found)) <= {int} or (found and not 0 <= min(found) <= max(found) < 2**63):
        raise ValueError("not whole numbers")
    return tuple(found)


def one_of(*choices: str) -> Reader:
    """A reader of the texts of a closed set."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"not one of {choices}")
        return str(value)

    return read


def finite(value: Any) -> float:
    """A number that is not nan or inf."""
    found = number(value)
    if not math.isfinite(found):
        raise ValueError("not finite")
    return found


def valid_items(content: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """A table without the items whose value is not of the type that `readers` has for them; others stay."""
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
    """Whether tables and lists stand deeper in one another than that; walked level by level, never recursively."""
    level: list[Any] = [value] if type(value) in _NESTS else []
    for _ in range(max_depth):
        inner: list[Any] = []
        for outer in level:
            items = outer.values() if type(outer) is dict else outer
            # Most hold nothing that holds anything.
            if not _NESTS.isdisjoint(map(type, items)):
                inner += [item for item in items if type(item) in _NESTS]
        if not inner:
            return False
        level = inner
    return True
