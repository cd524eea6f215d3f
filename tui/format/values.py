"""Format values for people: percentages, counts, bytes, times; and make untrusted text safe for a terminal."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

from ...core.errors import InputError

MAX_TEXT_LENGTH = 20_000
"""The longest text that is sent to a terminal, in characters."""
MAX_COMBINING_MARKS = 4
_MAX_SECONDS = 2e11
"""Longer durations and later dates are not plausible, and shown as a dash."""


def safe(text: object, limit: int = MAX_TEXT_LENGTH) -> str:
    """Untrusted text as one safe line: without control, format and surrogate characters, at most `limit` characters.

    Line breaks and tabs become spaces; only the first few combining marks of a character are kept.
    """
    whole = str(text)
    cut = whole[:limit] + "…" if len(whole) > limit else whole
    if cut.isascii() and cut.isprintable():
        return cut
    kept: list[str] = []
    marks = 0
    for character in cut:
        kind = unicodedata.category(character)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if character in "\n\r\t" or kind in ("Zl", "Zp"):
            kept.append(" ")
        elif kind not in ("Cc", "Cf", "Cs") and marks <= MAX_COMBINING_MARKS:
            kept.append(character)
    return "".join(kept)


def parse_accuracy(text: str) -> float:
    """The share in "60%", "60" or "0.6".

    Raises:
        InputError: the text is not an accuracy.
    """
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    share = value / 100 if text.endswith("%") or value > 1 else value
    if not 0 < share <= 1:
        raise InputError(f"'{text}' is not an accuracy", "write 60% or 0.6")
    return share


def points(difference: float | None, unit: str = "") -> str:
    """A difference of two shares in percentage points, never as a negative zero."""
    return "-" if difference is None else f"{round(100 * difference, 2) + 0.0:.2f}{unit}"


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as a percentage; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f} %"


def figure(metric: str, value: float | None) -> str:
    """A metric's value: accuracies as percentages, losses with four decimals."""
    if value is None:
        return "-"
    return percent(value) if metric.endswith("accuracy") else f"{value:.4f}"


def count(number: float | None) -> str:
    """A whole number with thousands separators."""
    return "-" if number is None else f"{number:,.0f}"


def size(number: float | None) -> str:
    """Bytes in the largest binary unit with a value of at least 1."""
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def flops(number: float) -> str:
    """Floating-point operations in MFLOP."""
    return f"{number / 1e6:,.1f} MFLOP"


def duration(seconds: float | None) -> str:
    """A duration: 4.2 s, 3:07 or 2:03:07."""
    if seconds is None or not abs(seconds) < _MAX_SECONDS:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(unix_seconds: float) -> str:
    """Date and time in the local time zone, to the minute; a dash for an implausible one."""
    if not 0 <= unix_seconds < _MAX_SECONDS:
        return "-"
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def time_of_day(unix_seconds: float) -> str:
    """Time of day in the local time zone, to the second; dashes for an implausible one."""
    if not 0 <= unix_seconds < _MAX_SECONDS:
        return "--:--:--"
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone().strftime("%H:%M:%S")


def as_text(value: Any) -> str:
    """A setting's value as the user types it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
