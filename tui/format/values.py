"""Values as a person reads them: percent, counts, bytes, times; and foreign text made safe for a terminal."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

LONGEST = 20_000
"""Characters of one text that a terminal is given."""
MOST_MARKS = 4
_LONGEST_TIME = 2e11
"""Seconds: more are no time that a run takes, nor a date."""


def safe(text: object, most: int = LONGEST) -> str:
    """Text for a terminal: a line without control, format and surrogate characters, of at most so many characters.

    Line breaks and tabs become spaces; of marks that are put on one character the first few stay.
    """
    given = str(text)
    cut = given[:most] + "…" if len(given) > most else given
    if cut.isascii() and cut.isprintable():
        return cut
    kept: list[str] = []
    marks = 0
    for character in cut:
        kind = unicodedata.category(character)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if character in "\n\r\t" or kind in ("Zl", "Zp"):
            kept.append(" ")
        elif kind not in ("Cc", "Cf", "Cs") and marks <= MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as percent; a dash for nothing."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f} %"


def figure(metric: str, value: float | None) -> str:
    """A metric's value: accuracies in percent, losses with four digits."""
    if value is None:
        return "-"
    return percent(value) if metric.endswith("accuracy") else f"{value:.4f}"


def count(number: float | None) -> str:
    """A whole number with separators."""
    return "-" if number is None else f"{number:,.0f}"


def size(number: float | None) -> str:
    """Bytes in the largest binary unit that leaves a number of at least 1."""
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def flops(number: float) -> str:
    """Floating-point operations in millions."""
    return f"{number / 1e6:,.1f} MFLOP"


def duration(seconds: float | None) -> str:
    """A time: 4.2 s, 3:07 or 2:03:07."""
    if seconds is None or not abs(seconds) < _LONGEST_TIME:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(unix_seconds: float) -> str:
    """A point in time in the local time zone, to the minute; a dash for one that no calendar has."""
    if not 0 <= unix_seconds < _LONGEST_TIME:
        return "-"
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def time_of_day(unix_seconds: float) -> str:
    """A point in time in the local time zone, to the second, without its day; dashes for one that no calendar has."""
    if not 0 <= unix_seconds < _LONGEST_TIME:
        return "--:--:--"
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().strftime("%H:%M:%S")


def as_text(value: Any) -> str:
    """A value as a person types it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
